"""Public ids: what they name can be seen, they are read back without a lookup, and a mix-up is said."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewline.errors import BadRequest
from crewline.models.public_ids import PREFIXES, Kind, parse_deployment, parse_public_id, public_id

CORE = "0199c7a0-0000-7000-8000-00000000abcd"
DIGITS = "0199c7a0000070008000" + "00000000abcd"


@given(st.sampled_from(sorted(PREFIXES)), st.uuids())
def test_an_id_is_read_back(kind: Kind, core: UUID) -> None:
    assert parse_public_id(kind, public_id(kind, str(core))) == str(core)


@pytest.mark.parametrize(
    ("kind", "spelled"),
    [("deployment", "dep_"), ("thread", "thr_"), ("run", "run_"), ("version", "ver_")],
)
def test_an_id_says_what_it_names(kind: Kind, spelled: str) -> None:
    assert public_id(kind, CORE) == spelled + DIGITS


@pytest.mark.parametrize("text", [CORE, CORE.upper(), DIGITS, f"run_{DIGITS.upper()}"])
def test_the_cores_own_id_is_taken_in_any_spelling(text: str) -> None:
    assert parse_public_id("run", text) == CORE


def test_the_id_of_something_else_is_refused_with_what_it_is() -> None:
    with pytest.raises(BadRequest) as refused:
        parse_public_id("run", f"thr_{DIGITS}")
    assert refused.value.message == f"'thr_{DIGITS}' is a thread's id; a run's id begins with run_."
    with pytest.raises(BadRequest, match=f"'job_{DIGITS}' is no thread's id; one begins with thr_"):
        parse_public_id("thread", f"job_{DIGITS}")


@pytest.mark.parametrize(
    "text", ["", "run_", "latest", "run_0199", f"run_{DIGITS}0", f"run-{DIGITS}", "x" * 500]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(
        BadRequest, match=re.escape("is no run's id, which is run_ and 32 hexadecimal digits")
    ):
        parse_public_id("run", text)


def test_a_deployment_may_be_named_as_its_crew() -> None:
    assert parse_deployment("echo") == "echo"
    assert parse_deployment("run_reports") == "run_reports"
    assert parse_deployment(f"dep_{DIGITS}") == parse_deployment(CORE) == CORE
    with pytest.raises(BadRequest, match="is a run's id; a deployment's id begins with dep_"):
        parse_deployment(f"run_{DIGITS}")
