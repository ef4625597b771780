"""A run as a tree: where events belong, and how they are drawn."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console, RenderableType

from crewline.cli.trees import RunTree, Screenful
from tests.cli.stories import RUN, STORY, event


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def drawn(drawing: RenderableType, height: int = 40) -> list[str]:
    console = Console(file=io.StringIO(), width=100, height=height, color_system=None)
    console.print(drawing)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


def tree(*events: dict[str, Any], clock: Clock | None = None) -> RunTree:
    made = RunTree(RUN, clock=clock or Clock())
    for one in events:
        made.take(one)
    return made


def test_a_run_that_has_ended() -> None:
    assert drawn(tree(*(one for _, one in STORY))) == [
        RUN,
        "└── ✓ research  1.3s",
        "    └── ✓ search  1.2s · 1,204 tokens",
        "        ├── warning: few sources",
        '        └── ⚒ find {"query": "tea"}',
    ]


def test_what_runs_shows_how_long_it_has() -> None:
    clock = Clock()
    made = tree(STORY[1][1], clock=clock)
    clock.now = 3.2
    assert drawn(made) == [RUN, "└── ⠹ research  3.2s"]
    assert made.running == ["research"]


def test_tasks_side_by_side_keep_what_is_theirs() -> None:
    made = tree(
        event("task.started", task="a", id="1", path=[]),
        event("task.started", task="a", id="2", path=[]),
        event("task.started", task="inner", id="3", path=["a:2"]),
        event("task.completed", task="inner", id="3", path=["a:2"], duration_ms=100),
        event("task.completed", task="a", id="2", path=[], duration_ms=200),
        event("task.completed", task="a", id="1", path=[], duration_ms=300, error="ValueError: no tea"),
    )
    assert drawn(made) == [
        RUN,
        "├── ✗ a  0.3s · ValueError: no tea",
        "└── ✓ a  0.2s",
        "    └── ✓ inner  0.1s",
    ]


def test_a_task_that_asks_says_so() -> None:
    asked = [{"id": "q", "value": "publish?"}]
    made = tree(event("task.completed", task="a", id="1", path=[], duration_ms=100, interrupts=asked))
    assert drawn(made) == [RUN, "└── ? a  0.1s · asks"]


def test_a_log_line_without_a_task_is_of_the_only_one_that_runs() -> None:
    made = tree(
        event("task.started", task="a", id="1", path=[]),
        event("log", level="info", message={"n": 1}, path="/tmp/x"),
    )
    assert drawn(made)[-1] == '    └── info: {"n": 1}'


def test_a_task_that_was_stopped_with_its_run_is_neither_good_nor_bad() -> None:
    made = tree(event("task.started", task="a", id="1", path=[]), event("run.canceled"))
    assert drawn(made) == [RUN, "└── • a"]


def test_of_a_tree_higher_than_the_screen_the_end_is_shown() -> None:
    made = tree(
        *(event("task.started", task=f"t{n}", id=str(n), path=[]) for n in range(50)),
        *(event("task.completed", task=f"t{n}", id=str(n), path=[], duration_ms=0) for n in range(50)),
    )
    lines = drawn(Screenful(made), height=10)
    assert lines[0] == "… 44 lines above"
    assert lines[-1] == "└── ✓ t49  0.0s"
    assert len(lines) == 8


def test_a_task_that_says_much_keeps_the_newest_lines() -> None:
    made = tree(event("task.started", task="a", id="1", path=[]))
    lines = [made.take(event("log", level="info", message=f"line {n}")) for n in range(50)]
    assert lines[0] == "log             a / info: line 0"
    shown = drawn(made)
    assert len(shown) == 23
    assert shown[2] == "    ├── … 30 lines before"
    assert shown[3] == "    ├── info: line 30"
    assert shown[-1] == "    └── info: line 49"


def test_nothing_that_a_crew_says_moves_the_cursor() -> None:
    made = RunTree(RUN)
    evil = "a\x1b[2Jb\x9b1m"
    lines = [
        made.take(event("task.started", task=evil, agent=evil, id="1", path=[])),
        made.take(event("log", level="info", message=evil)),
        made.take(event("tool_use", name=evil, input={"x": evil})),
        made.take(event("task.completed", task=evil, id="1", path=[], error=evil)),
    ]
    shown = "".join(line or "" for line in lines) + "".join(drawn(made))
    assert "\x1b" not in shown
    assert "\x9b" not in shown


def test_durations_read_as_people_say_them() -> None:
    from crewline.cli.screens import seconds

    assert [seconds(one) for one in (0.04, 45.2, 125, 3725)] == ["0.0s", "45.2s", "2m 05s", "1h 02m 05s"]
