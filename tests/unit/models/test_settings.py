"""What a process is told by its environment, and the one tree of what can go wrong."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from crewline import errors
from crewline.errors import BadManifest, CrewlineError
from crewline.settings import VARIABLES, Settings, environment, read_settings

REQUIRED: dict[str, Any] = {
    "table": "t",
    "bucket": "b",
    "run_queue_url": "https://q",
    "manifest": "/m/langgraph.json",
}


def test_settings_survive_the_environment() -> None:
    settings = Settings(**REQUIRED, tenant="acme", log_level="DEBUG", max_body_bytes=5)
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    assert read_settings(environment(**values)) == settings


def test_what_is_optional_has_a_default() -> None:
    settings = read_settings(environment(**REQUIRED))
    assert (settings.tenant, settings.log_level, settings.max_body_bytes) == ("default", "INFO", 6_000_000)
    assert (settings.dead_letter_url, settings.webhook_queue_url) == ("", "")


def test_every_setting_has_a_variable() -> None:
    assert set(VARIABLES) == {field.name for field in fields(Settings)}


def test_missing_variables_are_named_all_at_once() -> None:
    with pytest.raises(
        BadManifest, match="CREWLINE_TABLE, CREWLINE_BUCKET, CREWLINE_RUN_QUEUE_URL, CREWLINE_MANI"
    ):
        read_settings({})


def test_an_empty_variable_is_a_missing_one() -> None:
    with pytest.raises(BadManifest, match="lacks CREWLINE_TABLE;"):
        read_settings({**environment(**REQUIRED), "CREWLINE_TABLE": ""})


@pytest.mark.parametrize("text", ["many", "-1", "1.5", "²"])
def test_a_number_must_be_one(text: str) -> None:
    with pytest.raises(BadManifest, match="CREWLINE_MAX_BODY_BYTES must be a number"):
        read_settings({**environment(**REQUIRED), "CREWLINE_MAX_BODY_BYTES": text})


def test_a_truth_is_spelled_as_in_json() -> None:
    spelled = environment(**REQUIRED, leaving_seen=False)
    assert spelled["CREWLINE_LEAVING_SEEN"] == "false"
    assert read_settings(spelled).leaving_seen is False
    assert read_settings(environment(**REQUIRED)).leaving_seen is True


@pytest.mark.parametrize("text", ["False", "0", "no"])
def test_a_truth_must_be_one(text: str) -> None:
    with pytest.raises(BadManifest, match="CREWLINE_LEAVING_SEEN must be true or false"):
        read_settings({**environment(**REQUIRED), "CREWLINE_LEAVING_SEEN": text})


def test_every_request_needs_a_key_unless_told_otherwise() -> None:
    assert read_settings(environment(**REQUIRED)).authentication == "keys"
    assert read_settings(environment(**REQUIRED, authentication="keys")).authentication == "keys"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:4566", "http://localhost:1", "http://[::1]:1", "http://127.9.9.9"]
)
def test_nobody_is_asked_for_a_key_beside_a_cloud_on_this_machine(url: str) -> None:
    variables = environment(**REQUIRED, authentication="open")
    assert read_settings({**variables, "AWS_ENDPOINT_URL": url}).authentication == "open"


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "127.0.0.1",
        "http://10.0.0.1:4566",
        "http://localhost.example",
        "http://127.0.0.1@cloud.example",
        "http://127.0.0.1.nip.example:4566",
        "http://[::1",
        "https://dynamodb.eu-central-1.amazonaws.com",
    ],
)
def test_anywhere_else_a_key_is_needed(url: str | None) -> None:
    variables = environment(**REQUIRED, authentication="open")
    with pytest.raises(BadManifest, match="CREWLINE_AUTHENTICATION=open lets anybody do everything"):
        read_settings(variables if url is None else {**variables, "AWS_ENDPOINT_URL": url})


@pytest.mark.parametrize("text", ["none", "Open", "key"])
def test_an_authentication_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(BadManifest, match=f"CREWLINE_AUTHENTICATION must be keys or open, not '{text}'"):
        read_settings(
            {**environment(**REQUIRED, authentication=text), "AWS_ENDPOINT_URL": "http://localhost:1"}
        )


def test_what_was_never_deployed_is_for_production_and_has_a_build_of_its_own() -> None:
    settings = read_settings(environment(**REQUIRED))
    assert (settings.stage, settings.build) == ("production", "0" * 32)


@pytest.mark.parametrize("text", ["prod", "Staging", "development"])
def test_a_stage_that_there_is_not_is_refused(text: str) -> None:
    with pytest.raises(BadManifest, match=f"CREWLINE_STAGE must be production or staging, not '{text}'"):
        read_settings(environment(**REQUIRED, stage=text))


@pytest.mark.parametrize("text", ["1", "A" * 32, "0" * 31, "0" * 33, "0" * 32 + "\n", "g" * 32])
def test_a_build_is_a_digest(text: str) -> None:
    with pytest.raises(BadManifest, match="CREWLINE_BUILD must be 32 hex digits"):
        read_settings(environment(**REQUIRED, build=text))


def test_a_misspelled_setting_fails_where_it_is_spelled() -> None:
    with pytest.raises(KeyError):
        environment(tabel="t")


def test_every_error_has_a_code_of_its_own() -> None:
    tree = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, CrewlineError)]
    codes = [one.code for one in tree]
    assert len(codes) == len(set(codes))


def test_a_stale_owner_is_marked_as_langgraph_looks_for_it() -> None:
    assert errors.StaleOwner.is_stale_write_owner_error is True
