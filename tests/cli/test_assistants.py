"""`crewline assistants` on a service."""

from __future__ import annotations

import pytest

from tests.cli.commands import Command


@pytest.fixture(autouse=True)
def there(service_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREWLINE_URL", service_url)


def test_an_assistant_is_made_shown_changed_and_deleted(command: Command) -> None:
    config = '{"configurable": {"length": "short"}}'
    made = command(
        *("assistants", "create", "--crew", "echo", "--name", "short echo", "--config", config, "--json"),
        *("--metadata", '{"team": "a"}', "--webhook", "https://example.com/hook"),
    ).json
    assert made["config"] == {"configurable": {"length": "short"}}
    assert made["metadata"] == {"team": "a", "crewline_webhook": "https://example.com/hook"}

    shown = command("assistants", "get", "short echo").out
    assert f"dep_{made['assistant_id'].replace('-', '')}" in shown
    assert "short echo" in shown

    changed = command("assistants", "update", made["assistant_id"], "--name", "echo of ours", "--json").json
    assert (changed["name"], changed["version"]) == ("echo of ours", 2)

    assert "say --yes" in command.refused(2, "assistants", "delete", "echo of ours")
    assert "is deleted" in command("assistants", "delete", "echo of ours", "--yes").out
    assert "There is no deployment named 'echo of ours'" in command.refused(
        3, "assistants", "get", "echo of ours"
    )


def test_the_list_has_every_crew_and_whole_ids_in_a_pipe(command: Command) -> None:
    listed = command("assistants", "list", "--crew", "steps", "--json").json
    assert [one["graph_id"] for one in listed] == ["steps"]
    [header, *rows] = command("assistants", "list", "--crew", "steps").out.splitlines()
    assert header.split() == ["deployment", "name", "crew", "version", "updated"]
    assert rows[0].startswith("dep_" + listed[0]["assistant_id"].replace("-", ""))


def test_two_of_one_name_are_told_apart_by_id(command: Command) -> None:
    ids = [
        command("assistants", "create", "--crew", "echo", "--name", "twin", "--json").json["assistant_id"]
        for _ in range(2)
    ]
    said = command.refused(2, "assistants", "get", "twin")
    assert all(f"dep_{id_.replace('-', '')}" in said for id_ in ids)
    for id_ in ids:
        command("assistants", "delete", id_, "--yes")


def test_a_change_of_nothing_is_refused(command: Command) -> None:
    assert "Say what to change" in command.refused(2, "assistants", "update", "echo")


def test_the_default_assistant_of_a_crew_stays(command: Command) -> None:
    assert command.refused(4, "assistants", "delete", "echo", "--yes")
