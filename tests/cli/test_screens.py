"""Commands in a real terminal, compared with kept screens; and without one, where nothing is drawn."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.cli import stories
from tests.cli.commands import Command
from tests.cli.servers import SSE, Answer, Asked, ScriptedService, sse
from tests.cli.stories import RUN, STORY
from tests.cli.terminals import check_kept, terminal

MESSAGE = '{"message": "Lisbon"}'


@pytest.fixture
def there(travel: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("CREWLINE_URL", travel)
    return travel


@pytest.fixture
def thread(there: str, command: Command) -> Iterator[str]:
    """A thread with two turns of the planner."""
    thread_id = command("thread", "create", "planner").out.strip()
    for message in ("Lisbon", "Porto"):
        assert command("invoke", "--thread", thread_id, "-i", json.dumps({"message": message})).code == 0
    yield thread_id
    command("thread", "delete", thread_id, "--yes")


def test_a_stream_is_a_tree_with_its_subgraph_and_tools(there: str) -> None:
    with terminal("invoke", "planner", "-i", MESSAGE, "--stream") as shown:
        assert shown.ended() == 0
        top = shown.lines.index("{")
        check_kept("invoke_stream", shown.lines[:top])


@pytest.fixture
def halfway(scripted_service: ScriptedService) -> Iterator[tuple[str, threading.Event]]:
    """The URL of a service that tells half of a run's story, and the rest when the event is set."""
    further = threading.Event()

    def rest(_asked: Asked) -> Answer:
        further.wait()
        return Answer(200, sse(STORY[4:]), SSE)

    stories.tell(scripted_service)
    scripted_service.answer(f"GET /v1/runs/{RUN}/events", Answer(200, sse(STORY[:4]), SSE), rest)
    yield scripted_service.url, further
    further.set()


def test_a_stream_shows_what_runs_while_it_runs(halfway: tuple[str, threading.Event]) -> None:
    url, further = halfway
    with terminal("invoke", "-i", "{}", "--stream", CREWLINE_URL=url) as shown:
        shown.until(lambda lines: any("few sources" in line for line in lines))
        check_kept("invoke_stream_running", shown.lines)
        further.set()
        assert shown.ended() == 0
        assert "Run completed in 0.0s · 1,204 tokens" in shown.lines


def test_a_run_without_a_stream_says_what_it_does_and_then_nothing_of_it(there: str) -> None:
    with terminal("invoke", "booking", "-i", '{"train": "night"}') as shown:
        assert shown.ended() == 0
        assert shown.lines[0] == "{"
        assert "⠋".encode() in shown.printed or "⠙".encode() in shown.printed


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_find_it(
    halfway: tuple[str, threading.Event], scripted_service: ScriptedService
) -> None:
    with terminal("invoke", "-i", "{}", "--stream", CREWLINE_URL=halfway[0]) as shown:
        shown.until(lambda lines: any("few sources" in line for line in lines))
        shown.process.sendintr()
        assert shown.ended() == 130
        check_kept("invoke_interrupted", shown.lines)
    assert not any(asked.path.endswith("/cancel") for asked in scripted_service.asked)


def test_a_history_is_a_timeline(thread: str) -> None:
    with terminal("thread", "history", thread) as shown:
        assert shown.ended() == 0
        check_kept("thread_history", shown.lines)


def test_a_difference_is_coloured(thread: str) -> None:
    with terminal("thread", "diff", thread, "1", "2") as shown:
        assert shown.ended() == 0
        check_kept("thread_diff", shown.lines)
        signs = {line[:1]: shown.colours(number) for number, line in enumerate(shown.lines)}
    assert signs["+"] == {"green"}
    assert signs["~"] >= {"red", "green"}


def test_an_error_is_one_line() -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with terminal("runs", "list", CREWLINE_URL=url) as shown:
            assert shown.ended() == 6
            check_kept("error", shown.lines)


@pytest.mark.parametrize(
    ("columns", "header"), [("80", "run status took created"), ("120", "run status took created thread")]
)
def test_a_table_has_a_line_for_each_row_however_narrow_the_terminal(
    scripted_service: ScriptedService, columns: str, header: str
) -> None:
    run = {
        "id": RUN,
        "thread_id": f"thr_{'1' * 32}",
        "status": "succeeded",
        "created_at": "2026-01-01T00:00:00Z",
        "started_at": "2026-01-01T00:00:00Z",
        "completed_at": "2026-01-01T00:00:01Z",
    }
    scripted_service.answer("GET /v1/runs", Answer(200, {"runs": [run, run], "next_cursor": None}))
    with terminal("runs", "list", CREWLINE_URL=scripted_service.url, COLUMNS=columns) as shown:
        assert shown.ended() == 0
    printed = shown.printed.decode().splitlines()
    assert " ".join(re.sub(r"\x1b\[[0-9;]*m", "", printed[0]).split()) == header
    assert [RUN in line and "succeeded" in line for line in printed[1:3]] == [True, True]
    assert ("No room for thread" in "".join(printed[3:])) == (columns == "80")
    assert len(printed) == (4 if columns == "80" else 3)


def test_a_question_is_asked_and_answered(there: str, command: Command) -> None:
    thread_id = command("thread", "create", "booking").out.strip()
    with terminal("invoke", "--thread", thread_id, "-i", '{"train": "night"}') as shown:
        assert shown.ended() == 0
        check_kept("question", shown.lines)
    answered = command("invoke", "--thread", thread_id, "--resume", '"yes"')
    assert answered.json == {"train": "night", "answer": "yes"}


def test_a_failed_run_is_drawn_with_its_error(there: str) -> None:
    with terminal("invoke", "broken", "-i", MESSAGE, "--stream") as shown:
        assert shown.ended() == 1
        check_kept("invoke_failed", shown.lines)


def test_help_has_an_example() -> None:
    with terminal("invoke", "--help") as shown:
        assert shown.ended() == 0
        check_kept("help", shown.lines)


def test_a_thread_goes_when_somebody_says_yes(there: str, command: Command) -> None:
    thread_id = command("thread", "create", "planner").out.strip()
    with terminal("thread", "delete", thread_id) as shown:
        shown.until(lambda lines: any("[y/N]" in line for line in lines))
        shown.process.sendline("n")
        assert shown.ended() == 2
    with terminal("thread", "delete", thread_id) as shown:
        shown.until(lambda lines: any("[y/N]" in line for line in lines))
        shown.process.sendeof()
        assert shown.ended() == 2
        assert "there was no answer" in shown.lines[-1]
    with terminal("thread", "delete", thread_id) as shown:
        shown.until(lambda lines: any("[y/N]" in line for line in lines))
        shown.process.sendintr()
        assert shown.ended() == 130
    assert command("thread", "get", thread_id).code == 0
    with terminal("thread", "delete", thread_id) as shown:
        shown.until(lambda lines: any("[y/N]" in line for line in lines))
        shown.process.sendline("y")
        assert shown.ended() == 0
    assert command("thread", "get", thread_id).code == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["invoke", "planner", "-i", MESSAGE],
        ["invoke", "planner", "-i", MESSAGE, "--stream"],
        ["invoke", "planner", "-i", MESSAGE, "--stream", "--json"],
        ["runs", "list"],
        ["assistants", "list"],
        ["invoke", "absent"],
        ["invoke", "--help"],
    ],
    ids=" ".join,
)
def test_a_pipe_gets_no_escape_codes(there: str, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crewline.cli", *arguments], capture_output=True, check=False, timeout=60
    )
    assert done.stdout + done.stderr
    assert b"\x1b" not in done.stdout + done.stderr


def test_an_old_terminal_gets_question_marks(scripted_service: ScriptedService) -> None:
    stories.tell(scripted_service)
    with terminal(
        "invoke",
        "-i",
        "{}",
        "--stream",
        CREWLINE_URL=scripted_service.url,
        PYTHONUTF8="0",
        PYTHONIOENCODING="ascii",
    ) as shown:
        assert shown.ended() == 0
        assert any("? research" in line for line in shown.lines)


def test_colours_can_be_turned_off(thread: str) -> None:
    with terminal("thread", "diff", thread, "1", "2", NO_COLOR="1") as shown:
        assert shown.ended() == 0
        assert not any(shown.colours(number) for number in range(len(shown.lines)))
