"""The example that every command's help ends with runs as it stands, but for ids."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer.main

from crewline.cli.main import app
from crewline.store import clients
from tests.cli.commands import Command, Done
from tests.cli.conftest import TRAVEL
from tests.cli.terminals import terminal
from tests.e2e.test_releases import Deployment, deployment, shared
from tests.unit.cli.conftest import stacks, table
from tests.unit.cli.test_deployments import Machine, machine

__all__ = ["deployment", "machine", "shared", "stacks", "table"]  # fixtures

IDS = re.compile(r"\b(?:thr|run|dep)_[0-9a-f]{32}\b")
PLAN = '{"message": "Lisbon"}'


def _commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Give every command that people see, with its example."""
    if inner := getattr(command, "commands", None):
        for name, one in inner.items():
            yield from _commands(one, (*words, name))
    elif not command.hidden:
        yield words, str(command.epilog or "")


COMMANDS = dict(_commands(typer.main.get_command(app)))


@dataclass(frozen=True)
class World:
    """What an example may need to be there."""

    command: Command
    request: pytest.FixtureRequest
    folder: Path

    def thread(self) -> str:
        """A thread with a turn."""
        thread_id = self.command("thread", "create", "planner").out.strip()
        assert self.command("invoke", "--thread", thread_id, "-i", PLAN).code == 0
        return thread_id

    def thread_with_two_turns(self) -> str:
        """A thread with two turns."""
        thread_id = self.thread()
        assert self.command("invoke", "--thread", thread_id, "-i", PLAN).code == 0
        return thread_id

    def run(self, crew: str = "planner", given: str = PLAN) -> str:
        """A run that has ended."""
        started = self.command("invoke", crew, "-i", given, "--no-wait", "--json")
        self.command("runs", "events", started.json["run_id"])
        return str(started.json["run_id"])

    def failed_run(self) -> str:
        """A run that has failed."""
        return self.run("broken")

    def waiting_run(self) -> str:
        """A run that takes longer than anybody waits."""
        started = self.command("invoke", "waiting", "-i", '{"seconds": 600}', "--no-wait", "--json")
        return str(started.json["run_id"])

    def profile(self) -> str:
        """A profile."""
        self.command("profiles", "set", "production", "--url", "https://example.com/prod")
        return ""

    def assistant(self) -> str:
        """An assistant with a name of its own."""
        self.command("assistants", "create", "--crew", "planner", "--name", "short plans")
        return ""

    def keys(self) -> str:
        """A stack with a table."""
        self.request.getfixturevalue("table")
        return ""

    def deployed(self) -> str:
        """A stack that a deploy has made."""
        stack: Deployment = self.request.getfixturevalue("deployment")
        stack.deploy(1)
        return ""

    def key(self) -> str:
        """A key in the table of a stack."""
        self.keys()
        return str(self.command("keys", "create", "--tenant", "acme", "--json").json["key_id"])

    def webhook(self) -> str:
        """A webhook in the table of a stack."""
        self.keys()
        return str(self.command("webhooks", "create", "planner", "--json").json["webhook_id"])

    def stranger(self) -> str:
        """A machine without AWS credentials."""
        monkeypatch = self.request.getfixturevalue("monkeypatch")
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        clients._session.cache_clear()
        return ""

    def logs(self) -> str:
        """The logs of a local service, in the current folder."""
        log = Path(".crewline/logs/functions.log")
        log.parent.mkdir(parents=True)
        log.write_text("printed\n")
        return ""

    def project(self) -> str:
        """A project in the current folder, with a variable."""
        shutil.copytree(self.folder / "my-crews", Path.cwd(), dirs_exist_ok=True)
        assert self.command("env", "set", "MODEL=large").code == 0
        return ""


NEEDED: dict[str, Callable[[World], str]] = {
    "thread get": World.thread,
    "thread history": World.thread,
    "thread diff": World.thread_with_two_turns,
    "thread rollback": World.thread,
    "thread copy": World.thread,
    "thread delete": World.thread,
    "runs get": World.run,
    "runs events": World.run,
    "runs cancel": World.waiting_run,
    "runs retry": World.failed_run,
    "assistants update": World.assistant,
    "assistants delete": World.assistant,
    "profiles use": World.profile,
    "profiles delete": World.profile,
    "versions": World.deployed,
    "keys create": World.keys,
    "keys list": World.keys,
    "keys revoke": World.key,
    "webhooks create": World.keys,
    "webhooks list": World.keys,
    "webhooks rotate": World.webhook,
    "webhooks revoke": World.webhook,
    "webhooks secret": World.keys,
    "doctor": World.stranger,
    "logs": World.logs,
    "env set": World.project,
    "env list": World.project,
    "env unset": World.project,
}
"""Command → what makes what its example names; gives the id to put in place of the one that is written."""


@pytest.fixture
def world(
    travel: str,
    command: Command,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[World]:
    monkeypatch.setenv("CREWLINE_URL", travel)
    shutil.copytree(TRAVEL, tmp_path / "my-crews", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    yield World(command, request, tmp_path)
    for one in command("assistants", "list", "--json").json:
        if one["name"] == "short plans":
            command("assistants", "delete", one["assistant_id"], "--yes")


def example(words: tuple[str, ...]) -> list[str]:
    """Read the example of a command, without the program's name."""
    epilog = COMMANDS[words]
    assert epilog.startswith("Example: "), f"`crewline {' '.join(words)}` has no example"
    program, *arguments = shlex.split(epilog.removeprefix("Example: "))
    assert (program, *arguments[: len(words)]) == ("crewline", *words)
    return arguments


def ran(world: World, words: tuple[str, ...]) -> Done:
    arguments = example(words)
    make = NEEDED.get(" ".join(words))
    if made := make(world) if make else "":
        given = re.compile(r"\b4tq0x8m2c9kd\b") if words[0] in ("keys", "webhooks") else IDS
        arguments = [given.sub(made, one) for one in arguments]
    return world.command(*arguments)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_shows_its_example(words: tuple[str, ...], command: Command) -> None:
    shown = " ".join(command(*words, "--help").out.split())
    assert f"Example: crewline {' '.join(words)}" in shown
    assert example(words)


ELSEWHERE = {("dev",), ("deploy",), ("destroy",)}
"""Commands whose examples run in tests of their own, below: one never ends, one needs the CDK, one asks."""


@pytest.mark.parametrize("words", [words for words in COMMANDS if words not in ELSEWHERE], ids=" ".join)
def test_the_example_runs(words: tuple[str, ...], world: World) -> None:
    done = ran(world, words)
    assert done.code == 0, done


def test_the_example_of_dev_serves_until_it_is_stopped(world: World) -> None:
    arguments = ["0" if one == "2025" else one for one in example(("dev",))]
    with terminal(*arguments) as shown:
        shown.until(lambda lines: any("Ctrl-C stops" in line for line in lines))
        shown.process.sendintr()
        assert shown.ended() == 0
    assert (world.folder / "my-crews" / ".crewline").is_dir()


def test_the_example_of_deploy_asks_the_cdk(world: World) -> None:
    cdk: Machine = world.request.getfixturevalue("machine")
    cdk.cdk()
    assert world.command(*example(("deploy",))).code == 0
    assert json.loads(cdk.told.read_text())["arguments"][:2] == ["deploy", "Crews"]


def test_the_example_of_destroy_asks_and_does(world: World) -> None:
    world.deployed()
    with terminal(*example(("destroy",))) as shown:
        shown.until(lambda lines: any("[y/N]" in line for line in lines))
        shown.process.sendline("y")
        assert shown.ended() == 0
        assert "Stack Crews is removed." in shown.lines
