"""`crewline webhooks`: paths that are printed once, and start runs until they are rotated or revoked."""

from __future__ import annotations

import json
import sys

import pytest

from crewline.cli.main import main
from crewline.errors import NotFound
from crewline.models.clocks import system_clock
from crewline.models.webhook_tokens import PATH
from crewline.services.webhook_tokens import WebhookTokens
from crewline.services.webhooks import signing_secret
from crewline.store.table import Table

Capture = pytest.CaptureFixture[str]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["crewline", "webhooks", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def token_of(path: str) -> str:
    assert path.startswith(PATH)
    return path.removeprefix(PATH)


@pytest.fixture
def tokens(table: Table) -> WebhookTokens:
    return WebhookTokens(table, system_clock)


def test_a_path_is_printed_alone_and_starts_runs_of_its_deployment(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tokens: WebhookTokens
) -> None:
    assert run(monkeypatch, "create", "planner", "--label", "forms") == 0
    printed = capsys.readouterr()
    found = tokens.find(token_of(printed.out.removesuffix("\n")))
    assert (found.tenant, found.deployment, found.label) == ("default", "planner", "forms")
    assert "not shown again" in printed.err
    assert "whk_" not in printed.err


def test_a_rotated_webhook_has_its_new_path_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tokens: WebhookTokens
) -> None:
    made, old = tokens.create("acme", "planner")
    assert run(monkeypatch, "rotate", made.token_id, "--tenant", "acme", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert tokens.find(token_of(row["path"])).token_id == made.token_id == row["webhook_id"]
    assert row["rotated_at"]
    with pytest.raises(NotFound):
        tokens.find(old)


def test_a_revoked_webhook_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tokens: WebhookTokens
) -> None:
    made, text = tokens.create("default", "planner")
    assert run(monkeypatch, "revoke", made.token_id) == 0
    assert "was revoked at" in capsys.readouterr().out
    with pytest.raises(NotFound):
        tokens.find(text)


def test_webhooks_are_listed_without_their_tokens(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tokens: WebhookTokens
) -> None:
    made, text = tokens.create("default", "planner", "forms")
    assert run(monkeypatch, "list") == 0
    printed = capsys.readouterr().out
    assert printed == f"{made.token_id}  planner  made {made.created_at}  good  forms\n"
    assert text.rpartition("_")[2] not in printed
    assert run(monkeypatch, "list", "--json") == 0
    assert [row["webhook_id"] for row in json.loads(capsys.readouterr().out)] == [made.token_id]
    assert run(monkeypatch, "list", "--tenant", "other") == 0
    assert "crewline webhooks create" in capsys.readouterr().err


def test_what_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, tokens: WebhookTokens
) -> None:
    for arguments in (("rotate", "nothing"), ("revoke", "nothing")):
        assert run(monkeypatch, *arguments) == 3
        printed = capsys.readouterr()
        assert (printed.out, printed.err.count("\n")) == ("", 1)
        assert printed.err.startswith("Error: Tenant default has no webhook 'nothing'")


def test_the_secret_is_the_one_that_signs(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, table: Table
) -> None:
    assert run(monkeypatch, "secret", "--tenant", "acme") == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (f"{signing_secret(table, 'acme')}\n", "")
    assert printed.out.startswith("whsec_")
    assert run(monkeypatch, "secret", "--json") == 0
    other = json.loads(capsys.readouterr().out)
    assert other == {"tenant": "default", "secret": signing_secret(table, "default")}
    assert other["secret"] != printed.out.strip()


def test_the_secret_of_no_tenant_is_not_made(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, table: Table
) -> None:
    assert run(monkeypatch, "secret", "--tenant", "Not One") == 2
    assert capsys.readouterr().out == ""
