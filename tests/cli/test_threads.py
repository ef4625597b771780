"""`crewline thread`: what it asks of a service and prints."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.cli import stories
from tests.cli.commands import Command
from tests.cli.servers import Answer, Asked, ScriptedService
from tests.cli.stories import DEPLOYMENT, THREAD

RUNS = [f"run_0198c0de00007000800000000000001{n}" for n in range(3)]
CHECKPOINTS = [f"0198c0de-0000-7000-8000-0000000000a{n}" for n in range(5)]


def checkpoint(number: int, run_id: str | None, **values: Any) -> dict[str, Any]:
    return {
        "checkpoint_id": CHECKPOINTS[number],
        "run_id": run_id,
        "values": values,
        "created_at": f"2026-11-21T12:00:0{number}.000000Z",
    }


HISTORY = [
    checkpoint(0, None, topic="tea"),
    checkpoint(1, RUNS[0], topic="tea", asked=["more"]),
    checkpoint(2, RUNS[1], topic="tea", asked=["more", "less"], plan={"budget": 1}),
    checkpoint(3, None, topic="tea", asked=["more"]),
    checkpoint(4, RUNS[2], topic="coffee", asked=["more"]),
]
"""The oldest first: it begins with values, and is rolled back once."""


def page(asked: Asked) -> Answer:
    """Answer with two checkpoints a page, the newest first."""
    query = parse_qs(urlsplit(asked.path).query)
    start = int(query.get("cursor", ["0"])[0])
    found = HISTORY[::-1][start : start + 2]
    following = str(start + 2) if start + 2 < len(HISTORY) else None
    return Answer(200, {"checkpoints": found, "next_cursor": following})


@pytest.fixture(autouse=True)
def service(scripted_service: ScriptedService, monkeypatch: pytest.MonkeyPatch) -> ScriptedService:
    scripted_service.answer("POST /assistants/search", Answer(200, [stories.ASSISTANT]))
    scripted_service.answer(f"GET /v1/threads/{THREAD}/history", page)
    monkeypatch.setenv("CREWLINE_URL", scripted_service.url)
    return scripted_service


def test_a_history_is_a_timeline_of_what_changed(command: Command) -> None:
    done = command("thread", "history", THREAD)
    assert done.out.splitlines() == [
        f"turn 3  2026-11-21 12:00:04  {CHECKPOINTS[4]}",
        f"  {RUNS[2]}",
        '  ~ topic: "tea" → "coffee"',
        f"no run  2026-11-21 12:00:03  {CHECKPOINTS[3]}",
        '  - asked[1]: "less"',
        '  - plan: {"budget": 1}',
        f"turn 2  2026-11-21 12:00:02  {CHECKPOINTS[2]}",
        f"  {RUNS[1]}",
        '  + asked[1]: "less"',
        '  + plan: {"budget": 1}',
        f"turn 1  2026-11-21 12:00:01  {CHECKPOINTS[1]}",
        f"  {RUNS[0]}",
        '  + asked: ["more"]',
        f"no run  2026-11-21 12:00:00  {CHECKPOINTS[0]}",
        '  + topic: "tea"',
    ]


def test_json_of_a_history_is_all_its_pages(command: Command) -> None:
    assert command("thread", "history", THREAD, "--json").json == {"checkpoints": HISTORY[::-1]}


def test_a_turn_is_the_state_as_of_its_run(command: Command) -> None:
    assert command("thread", "history", THREAD, "--turn", 2).json == HISTORY[2]["values"]
    assert command("thread", "history", THREAD, "--turn", 2, "--json").json == HISTORY[2]
    assert command.refused(3, "thread", "history", THREAD, "--turn", 4) == (
        "There is no turn 4; the thread has 3."
    )


def test_every_superstep_is_asked_for(command: Command, service: ScriptedService) -> None:
    command("thread", "history", THREAD, "--all")
    assert "all=true" in service.asked[0].path


def test_a_thread_without_history_says_so(command: Command, service: ScriptedService) -> None:
    service.answer(f"GET /v1/threads/{THREAD}/history", Answer(200, {"checkpoints": []}))
    done = command("thread", "history", THREAD)
    assert (done.code, done.out) == (0, "")
    assert "Nothing has happened" in done.err
    assert "no run has changed" in command.refused(3, "thread", "rollback", THREAD, "--turn", 1)


@pytest.mark.parametrize(
    ("states", "lines"),
    [
        (["1", "2"], ["turn 1 → turn 2", '+ asked[1]: "less"', '+ plan: {"budget": 1}']),
        (["0", "1"], [f"{CHECKPOINTS[0]} → turn 1", '+ asked: ["more"]']),
        (
            ["2"],
            ["turn 2 → turn 3", '~ topic: "tea" → "coffee"', '- asked[1]: "less"', '- plan: {"budget": 1}'],
        ),
        ([CHECKPOINTS[1], CHECKPOINTS[3]], [f"turn 1 → {CHECKPOINTS[3]}", "nothing changed"]),
        ([CHECKPOINTS[1].replace("-", ""), "1"], ["turn 1 → turn 1", "nothing changed"]),
    ],
)
def test_a_difference_is_between_turns_or_checkpoints(
    command: Command, states: list[str], lines: list[str]
) -> None:
    assert command("thread", "diff", THREAD, *states).out.splitlines() == lines


def test_a_difference_as_json(command: Command) -> None:
    assert command("thread", "diff", THREAD, "0", "1", "--json").json == [
        {"change": "added", "place": "asked", "after": ["more"]}
    ]


def test_a_state_that_is_not_there_is_told(command: Command) -> None:
    absent = "0198c0de-0000-7000-8000-0000000000ff"
    assert f"no checkpoint {absent}" in command.refused(3, "thread", "diff", THREAD, absent)
    assert "no turn 9" in command.refused(3, "thread", "diff", THREAD, "1", "9")
    assert "neither the number of a turn" in command.refused(2, "thread", "diff", THREAD, "first")


def test_a_thread_is_rolled_back_to_a_turn_or_a_checkpoint(
    command: Command, service: ScriptedService
) -> None:
    service.answer(f"POST /v1/threads/{THREAD}/rollback", Answer(200, {"thread_id": THREAD}))
    command("thread", "rollback", THREAD, "--turn", 2)
    command("thread", "rollback", THREAD, CHECKPOINTS[1])
    sent = [one.body for one in service.asked if one.path.endswith("/rollback")]
    assert sent == [{"checkpoint_id": CHECKPOINTS[2]}, {"checkpoint_id": CHECKPOINTS[1]}]
    assert "Say what to return to" in command.refused(2, "thread", "rollback", THREAD)
    assert "Say what to return to" in command.refused(
        2, "thread", "rollback", THREAD, CHECKPOINTS[1], "--turn", 1
    )


def test_creating_prints_the_id_alone(command: Command, service: ScriptedService) -> None:
    service.answer("POST /v1/threads", Answer(201, {"thread_id": THREAD}))
    done = command("thread", "create", "planner", "--metadata", '{"user_id": "demo"}', "--values", "{}")
    assert done.out == THREAD + "\n"
    assert service.asked[-1].body == {
        "deployment_id": DEPLOYMENT,
        "metadata": {"user_id": "demo"},
        "values": {},
    }


def test_a_list_is_filtered_by_status_and_metadata(command: Command, service: ScriptedService) -> None:
    thread = {
        "thread_id": THREAD,
        "status": "idle",
        "updated_at": "2026-11-21T12:00:00Z",
        "metadata": {"user_id": "demo"},
    }
    service.answer("GET /v1/threads", Answer(200, {"threads": [thread]}))
    done = command(
        *("thread", "list", "planner", "--status", "idle", "--limit", 5),
        *("--metadata", "user_id=demo", "--metadata", "a=b=c"),
    )
    assert parse_qs(urlsplit(service.asked[-1].path).query) == {
        "deployment_id": [DEPLOYMENT],
        "status": ["idle"],
        "metadata[user_id]": ["demo"],
        "metadata[a]": ["b=c"],
        "limit": ["5"],
        "offset": ["0"],
    }
    assert done.out.splitlines()[1].split() == [
        *(THREAD, "idle", "2026-11-21", "12:00:00"),
        *('{"user_id":', '"demo"}'),
    ]
    assert done.err == ""
    assert command("thread", "list", "planner", "--limit", 1).err == "There may be more: --offset 1\n"
    assert "is no filter" in command.refused(2, "thread", "list", "planner", "--metadata", "user_id")


def test_deleting_needs_a_yes(command: Command, service: ScriptedService) -> None:
    service.answer(f"GET /v1/threads/{THREAD}", Answer(200, {"thread_id": THREAD}))
    service.answer(f"DELETE /v1/threads/{THREAD}", Answer(204, b""))
    assert "say --yes" in command.refused(2, "thread", "delete", THREAD)
    assert all(one.method == "GET" for one in service.asked)
    assert command("thread", "delete", THREAD, "--yes").out == f"Thread {THREAD} is deleted.\n"
    assert service.asked[-1].method == "DELETE"


def test_a_thread_that_is_not_there_is_exit_3(command: Command, service: ScriptedService) -> None:
    service.answer(f"GET /v1/threads/{THREAD}", Answer(404, {"error": {"message": f"No {THREAD}."}}))
    assert command.refused(3, "thread", "get", THREAD) == f"No {THREAD}."
