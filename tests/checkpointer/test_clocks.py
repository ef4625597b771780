"""Machines whose clocks disagree: what was written last is what all of them read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import crewline
from tests.checkpointer.conftest import House

pytestmark = pytest.mark.thorough

PROGRAM = Path(__file__).parent / "process.py"


class Process:
    """A process with a clock of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, kind: str, text: str = "") -> tuple[list[str], str]:
        """Let it do something; returns the state it reads, and the id of the first checkpoint."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([kind, text]) + "\n")
        self._process.stdin.flush()
        said, oldest = json.loads(self._process.stdout.readline())
        return said, oldest


@contextmanager
def process(tenant: str, skew_s: float) -> Iterator[Process]:
    environment = {**os.environ, "PYTHONPATH": str(Path(crewline.__file__).parents[1])}
    command = [sys.executable, str(PROGRAM), tenant, str(skew_s)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield Process(child)
        finally:
            assert child.stdin
            child.stdin.close()


@pytest.fixture
def pair(house: House, request: pytest.FixtureRequest) -> Iterator[tuple[Process, Process]]:
    """One process whose clock is right, and one whose clock is not."""
    with ExitStack() as stack:
        yield (
            stack.enter_context(process(house.tenant, 0)),
            stack.enter_context(process(house.tenant, request.param)),
        )


@pytest.mark.parametrize("pair", [5, -5], indirect=True, ids=["ahead", "behind"])
def test_turns_of_two_machines_with_clocks_five_seconds_apart_alternate(
    pair: tuple[Process, Process],
) -> None:
    said: list[str] = []
    for turn in range(6):
        writer, reader = pair[turn % 2], pair[1 - turn % 2]
        said += [f"turn {turn}", f"answer {len(said) + 1}"]

        assert writer.tell("turn", f"turn {turn}")[0] == said
        assert reader.tell("read")[0] == said


@pytest.mark.parametrize("pair", [5, -5], indirect=True, ids=["ahead", "behind"])
@pytest.mark.parametrize("how", ["edit", "run"])
def test_a_fork_from_an_old_checkpoint_is_the_newest_whichever_machine_makes_it(
    pair: tuple[Process, Process], how: str
) -> None:
    for number, (other, forking) in enumerate([pair, pair[::-1]]):
        _, first = other.tell("turn", f"turn {number}")

        said, _ = forking.tell(how, first)  # it has read nothing else

        assert "forked" in said[-2:]
        assert other.tell("read")[0] == said
        assert other.tell("turn", "after the fork")[0][: len(said)] == said
        assert forking.tell("read")[0][-2] == "after the fork"
