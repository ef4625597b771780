"""Clients are made once they are needed, from one session."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_overloads

import pytest
from botocore.exceptions import NoRegionError

from crewline.store import clients


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment that names no region."""
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    clients._session.cache_clear()
    return monkeypatch


def test_a_deferred_client_is_made_when_it_is_first_asked_for_something(nowhere: pytest.MonkeyPatch) -> None:
    queues = clients.deferred("sqs")
    with pytest.raises(NoRegionError):
        _ = queues.meta

    nowhere.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    clients._session.cache_clear()

    assert queues.meta.region_name == "eu-west-1"
    assert queues.meta is queues.meta
    clients._session.cache_clear()


def test_the_layers_describe_every_service_that_functions_call() -> None:
    overloads = (*get_overloads(clients.client), *get_overloads(clients.deferred))
    named = [re.findall(r"'(\w+)'", overload.__annotations__["service"]) for overload in overloads]
    assert all(named)
    called = {service for services in named for service in services}

    of_the_command_line_alone = {"cloudformation", "logs", "ssm", "sts"}
    assert called - of_the_command_line_alone == set(clients.SERVICES)
