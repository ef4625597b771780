"""The OpenAPI document: what is packaged is what the routes are, and every part of it is there."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from crewline.http import openapi, operations, system
from crewline.http.resources import RESOURCES


@pytest.fixture(scope="module")
def document() -> Any:
    return orjson.loads(system.DOCUMENT.read_bytes())


def test_what_is_packaged_is_what_the_routes_are() -> None:
    assert system.DOCUMENT.read_bytes() == openapi.spelled(), "run `make openapi`"


def test_a_route_that_is_not_described_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(operations.OPERATIONS)
    monkeypatch.setattr(openapi, "OPERATIONS", {place: known[place] for place in list(known)[1:]})
    with pytest.raises(KeyError, match="/ok"):
        openapi.document()
    monkeypatch.setattr(openapi, "OPERATIONS", {**known, ("PUT", "/ok"): known["GET", "/ok"]})
    with pytest.raises(KeyError, match="PUT"):
        openapi.document()


def test_every_reference_leads_somewhere(document: Any) -> None:
    models = document["components"]["schemas"]
    referred = {name.rsplit("/", 1)[1] for name in _references(document)}
    assert referred <= set(models)
    assert set(models) <= referred  # and nothing is there that nobody uses


def test_every_resource_of_the_api_is_described(document: Any) -> None:
    greedy = re.compile("/{(checkpoint_id|namespace)}$")
    described = {greedy.sub("/{proxy+}", path) for path in document["paths"]}
    assert {path for path, _ in RESOURCES} <= described


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_references, value.values()))
    if isinstance(value, list):
        return set().union(*map(_references, value))
    return set()
