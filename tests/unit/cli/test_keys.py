"""`crewline keys`: what it prints where, and what the user can repair in one line."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from crewline.cli.main import main
from crewline.errors import Unauthenticated
from crewline.models.api_keys import Credential
from crewline.models.clocks import system_clock
from crewline.services.api_keys import ApiKeys
from crewline.store import clients
from crewline.store.table import Table
from tests.unit.cli.conftest import Stacks

Capture = pytest.CaptureFixture[str]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["crewline", "keys", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def authenticate(table: Table, text: str) -> Any:
    return ApiKeys(table, system_clock).authenticate(text).caller


@pytest.mark.parametrize("command", ["create", "list", "revoke"])
def test_every_command_shows_an_example(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, command: str
) -> None:
    assert run(monkeypatch, command, "--help") == 0
    assert f"Example: crewline keys {command} " in capsys.readouterr().out


def test_the_help_says_what_the_keys_rest_on(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert run(monkeypatch, "--help") == 0
    assert "AWS credentials" in capsys.readouterr().out


def test_a_key_is_printed_alone_and_works(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, table: Table
) -> None:
    assert run(monkeypatch, "create") == 0
    printed = capsys.readouterr()
    text = printed.out.removesuffix("\n")
    caller = authenticate(table, text)
    assert (caller.tenant, caller.scopes) == ("default", {"read", "run"})
    assert printed.err == f"Key {caller.key_id} of tenant default: read, run. It is not shown again.\n"


def test_a_key_has_the_tenant_scopes_and_label_that_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, table: Table
) -> None:
    assert (
        run(
            monkeypatch,
            *[
                "create",
                "--tenant",
                "acme",
                "--scope",
                "admin",
                "--scope",
                "read",
                "--label",
                "web",
                "--json",
            ],
        )
        == 0
    )
    made = json.loads(capsys.readouterr().out)
    caller = authenticate(table, made.pop("key"))
    assert (caller.tenant, caller.scopes) == ("acme", {"admin", "read"})
    [kept] = ApiKeys(table, system_clock).list("acme")
    assert made == {
        "key_id": caller.key_id,
        "tenant": "acme",
        "scopes": ["read", "admin"],
        "label": "web",
        "created_at": kept.created_at,
        "revoked_at": None,
    }


def test_keys_are_listed_without_their_secrets(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, table: Table
) -> None:
    keys = ApiKeys(table, system_clock)
    old, text = keys.create("acme", ["run"], "old one")
    good, _ = keys.create("acme", ["read", "admin"])
    keys.create("globex", ["read"])
    revoked = keys.revoke("acme", old.key_id)

    assert run(monkeypatch, "list", "--tenant", "acme") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"{good.key_id}  read, admin       made {good.created_at}  good",
        f"{old.key_id}  run               made {old.created_at}  revoked {revoked.revoked_at}  old one",
    ]
    sent = Credential.parse(text)
    assert sent is not None
    assert sent.secret not in printed.out

    assert run(monkeypatch, "list", "--tenant", "acme", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["key_id"], row["revoked_at"]) for row in rows] == [
        (good.key_id, None),
        (old.key_id, revoked.revoked_at),
    ]


def test_a_tenant_without_keys_is_told_how_to_make_one(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, table: Table
) -> None:
    assert run(monkeypatch, "list") == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "crewline keys create --tenant default" in printed.err
    assert run(monkeypatch, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_revoked_key_opens_nothing(monkeypatch: pytest.MonkeyPatch, capsys: Capture, table: Table) -> None:
    made, text = ApiKeys(table, system_clock).create("acme", ["read"])
    for options in ((), ("--json",)):
        assert run(monkeypatch, "revoke", made.key_id, "--tenant", "acme", *options) == 0
        assert "revoked" in capsys.readouterr().out
    with pytest.raises(Unauthenticated, match="was revoked at"):
        authenticate(table, text)


def test_the_commands_of_the_guide_work(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, table: Table
) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "authentication.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", guide, re.DOTALL)
    commands = [shlex.split(line) for block in blocks for line in block.splitlines()]
    assert [command[:3] for command in commands] == [
        ["crewline", "keys", name] for name in ("create", "list", "revoke")
    ]
    printed = ""
    for _, _, *arguments in commands:
        if arguments[0] == "revoke":
            arguments[1] = printed.split(maxsplit=1)[0]  # the id that the list shows
        assert run(monkeypatch, *arguments) == 0
        printed = capsys.readouterr().out
    assert "was revoked at" in printed


def test_a_table_may_be_named_itself_or_by_another_stack(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, table: Table, stacks: Stacks
) -> None:
    stacks.outputs["Second"] = {"TableName": table.name}
    for named in (("--stack", "Second"), ("--table", table.name, "--stack", "Absent")):
        assert run(monkeypatch, "create", *named) == 0
        assert authenticate(table, capsys.readouterr().out.strip()).tenant == "default"


def test_what_the_user_can_repair_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, table: Table, stacks: Stacks
) -> None:
    stacks.outputs["Unfinished"] = {}
    for arguments, code, message in (
        (
            "list --stack Absent",
            3,
            "There is no stack Absent in this account and region; name it with --stack",
        ),
        ("list --stack Unfinished", 3, "has no output TableName; name its table with --table."),
        ("list --table absent", 3, "There is no table absent in this account and region"),
        ("list --tenant A_B", 2, "Tenant 'A_B' must match"),
        ("create --scope write", 2, "There is no scope 'write'; the scopes are read, run, admin."),
        ("revoke nothing", 3, "Tenant default has no API key 'nothing'"),
    ):
        assert run(monkeypatch, *arguments.split()) == code
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("Error: ")
        assert message in printed.err
        assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("code", "ended", "message"),
    [
        (
            "ExpiredTokenException",
            5,
            "AWS does not accept the credentials of this environment (ExpiredTokenException)",
        ),
        ("AccessDeniedException", 5, "AWS does not allow Query with the credentials of this environment."),
        (None, 6, "DynamoDB did not answer query; try again in a moment."),
    ],
)
def test_what_aws_refuses_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, table: Table, code: str | None, ended: int, message: str
) -> None:
    failure = (
        ClientError({"Error": {"Code": code, "Message": "no"}}, "Query")
        if code
        else EndpointConnectionError(endpoint_url="http://table")
    )

    def refuse(**_: Any) -> None:
        raise failure

    clients._session().get_component("event_emitter").register_first("before-call.dynamodb.Query", refuse)
    assert run(monkeypatch, "list") == ended
    assert capsys.readouterr().err.startswith(f"Error: {message}")


@pytest.mark.parametrize(
    ("variables", "code", "message"),
    [
        ({}, 5, "There are no AWS credentials; sign in"),
        (
            {"AWS_PROFILE": "absent"},
            5,
            "The AWS credentials of this environment cannot be used: The config profile (absent)",
        ),
        (
            {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
            2,
            "No AWS region is known; set AWS_DEFAULT_REGION",
        ),
    ],
)
def test_an_environment_that_says_not_who_or_where_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
    variables: dict[str, str],
    code: int,
    message: str,
    tmp_path: Any,
) -> None:
    for name in (
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_DEFAULT_REGION",
    ):
        monkeypatch.delenv(name, raising=False)
    nowhere = {"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "credentials"}
    for name, value in nowhere.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    clients._session.cache_clear()
    try:
        assert run(monkeypatch, "list") == code
    finally:
        clients._session.cache_clear()
    printed = capsys.readouterr()
    assert printed.err.startswith(f"Error: {message}")
    assert printed.err.count("\n") == 1
