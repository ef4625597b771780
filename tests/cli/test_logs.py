"""`crewline logs`: of a local service from its files, of a deployed one from CloudWatch."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from moto import mock_aws

from crewline.store import clients
from tests.cli.commands import Command

REGION = "eu-west-1"
RUN = "0198c0de-0000-7000-8000-000000000001"
PUBLIC_RUN = f"run_{RUN.replace('-', '')}"
NOW = datetime.now(UTC)


def record(message: str, *, service: str = "worker", ago_s: float = 5, **more: Any) -> str:
    at = (NOW - timedelta(seconds=ago_s)).isoformat(timespec="milliseconds")
    return json.dumps(
        {
            "level": "INFO",
            "location": "do:1",
            "message": message,
            "timestamp": at,
            "service": service,
            "cold_start": True,
            "function_memory_size": "128",
            **more,
        }
    )


LINES = (
    record("long ago", ago_s=7_200),
    record("run claimed", run_id=RUN, epoch=2),
    "printed by a crew",
    '{"_aws":{"Timestamp":1,"CloudWatchMetrics":[]},"Runs":[1.0]}',
    record("swept", service="sweeper", failed=0),
    record("run failed", level="ERROR", run_id=RUN, exception="Traceback\n  ValueError: no"),
)


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a local service in the current folder."""
    log = tmp_path / "work" / ".crewline" / "logs" / "functions.log"
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"{line}\n" for line in LINES))
    monkeypatch.chdir(tmp_path / "work")
    return log


def messages(lines: list[Any]) -> list[str]:
    return [line["log"]["message"] for line in lines]


def test_a_local_service_shows_its_files(command: Command, local: Path) -> None:
    done = command("logs")
    assert done.code == 0
    lines = [line.split(" ", 1)[1] for line in done.out.splitlines() if not line.startswith("  ")]
    assert lines == [
        f"worker  INFO    run claimed  run_id={RUN}  epoch=2",
        "worker          printed by a crew",
        "sweeper INFO    swept  failed=0",
        f"worker  ERROR   run failed  run_id={RUN}",
    ]
    assert done.out.endswith("\n  Traceback\n    ValueError: no\n")


def test_it_shows_what_is_asked_for_alone(command: Command, local: Path) -> None:
    state = local.parents[1]
    assert messages(command("logs", "--function", "sweeper", "--json").json_lines) == ["swept"]
    of_run = command("logs", "--run", PUBLIC_RUN, "--json", "--state", state).json_lines
    assert messages(of_run) == ["run claimed", "run failed"]
    assert messages(command("logs", "--since", "3h", "--json").json_lines)[0] == "long ago"
    first = of_run[0]
    assert first["time"] == f"{NOW - timedelta(seconds=5):%Y-%m-%dT%H:%M:%S}" + first["time"][19:]
    assert first["log"]["run_id"] == RUN


def test_it_follows_a_file_through_a_restart(
    command: Command, local: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = iter(
        (
            lambda: local.write_text(local.read_text() + record("added") + '\n{"half": '),
            lambda: local.write_text(record("after a restart") + "\n"),
        )
    )

    def pause(_: float) -> None:
        try:
            next(waits)()
        except StopIteration:
            raise KeyboardInterrupt from None  # Ctrl-C

    monkeypatch.setattr("crewline.cli.logs.time.sleep", pause)
    done = command("logs", "--follow", "--json")
    assert done.code == 0
    assert messages(done.json_lines)[-2:] == ["added", "after a restart"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--since", "yesterday"), 2, "--since must be a number of s, m, h or d"),
        (("--run", "thr_0198c0de000070008000000000000001"), 2, "a run's id begins with run_"),
        (("--stack", "A", "--state", "."), 2, "give --stack or --state, not both"),
        (("--function", "crew"), 2, "keeps the logs of intake, sweeper, worker; what crew has to say"),
        (("--function", "wroker"), 3, "There is no function wroker; there are api, crew, intake,"),
        (("--state", "."), 3, "There are no logs in"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    command: Command, local: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    assert said in command.refused(code, "logs", *arguments)


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A stack of moto with two functions' logs; the client that writes to them."""
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    summaries = [
        {
            "ResourceType": "AWS::Logs::LogGroup",
            "LogicalResourceId": f"Service{name}Log12201C89",
            "PhysicalResourceId": f"group-{name}",
        }
        for name in ("Worker", "Sweeper", "Access")
    ]

    def list_resources(params: Any, **_: Any) -> Any:
        if params["body"]["StackName"] != "Crewline":
            error = {"Code": "ValidationError", "Message": "does not exist"}
            return SimpleNamespace(status_code=400), {"Error": error}
        return SimpleNamespace(status_code=200), {"StackResourceSummaries": summaries}

    with mock_aws():
        clients._session.cache_clear()
        clients._session().get_component("event_emitter").register_first(
            "before-call.cloudformation.ListStackResources", list_resources
        )
        client = boto3.client("logs", region_name=REGION)
        for name in ("Worker", "Sweeper", "Access"):
            client.create_log_group(logGroupName=f"group-{name}")
            client.create_log_stream(logGroupName=f"group-{name}", logStreamName="one")
        yield client
    clients._session.cache_clear()


def write(client: Any, name: str, *texts: str, ago_s: float = 5) -> None:
    at = int((time.time() - ago_s) * 1_000)
    client.put_log_events(
        logGroupName=f"group-{name}",
        logStreamName="one",
        logEvents=[{"timestamp": at, "message": text} for text in texts],
    )


def test_a_deployed_service_shows_its_log_groups_in_one_order(command: Command, stack: Any) -> None:
    write(stack, "Worker", record("first", run_id=RUN), "INIT_START", ago_s=9)
    write(stack, "Sweeper", record("second", service="sweeper"), ago_s=7)
    write(stack, "Worker", record("third"), ago_s=5)
    write(stack, "Access", "a request", ago_s=4)
    lines = command("logs", "--json").json_lines
    assert messages(lines) == ["first", "INIT_START", "second", "third"]
    assert [line["function"] for line in lines] == ["worker", "worker", "sweeper", "worker"]
    assert messages(command("logs", "--stack", "Crewline", "--function", "access", "--json").json_lines) == [
        "a request"
    ]
    assert messages(command("logs", "--run", PUBLIC_RUN, "--json").json_lines) == ["first"]
    assert "it has access, sweeper, worker" in command.refused(3, "logs", "--function", "absent")
    assert "There is no stack Absent" in command.refused(3, "logs", "--stack", "Absent")


def test_it_follows_a_deployed_service_and_tells_each_line_once(
    command: Command, stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(stack, "Worker", record("old"), ago_s=60)
    waits = iter(
        (
            lambda: write(stack, "Worker", record("new"), ago_s=5),
            lambda: write(stack, "Sweeper", record("late"), ago_s=10),
            lambda: None,
        )
    )
    main = threading.get_ident()

    def pause(_: float) -> None:
        assert threading.get_ident() == main
        try:
            next(waits)()
        except StopIteration:
            raise KeyboardInterrupt from None  # Ctrl-C

    monkeypatch.setattr("crewline.cli.logs.time.sleep", pause)
    done = command("logs", "--follow", "--json")
    assert done.code == 0
    assert messages(done.json_lines) == ["old", "new", "late"]
