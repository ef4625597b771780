"""Tests that were written for other services, run against a deployed stack."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.e2e.deployed.deployments import ROOT, Deployed
from tests.e2e.deployed.steps import CheckFailed

_LONGEST: Final = 900.0
_TIME_SCALE: Final = "4"
"""By how much what is tested may take longer: a cold start on a busy laptop does."""

_MODULES: Final = (
    "tests/sdk/test_threads.py",
    "tests/sdk/test_assistants.py",
    "tests/sdk/test_thread_streams.py",
    "tests/sdk/test_mcp.py",
    "tests/sdk/test_a2a.py",
    "tests/e2e/test_busy_threads.py",
    "tests/js/test_javascript.py",
)
"""What the official clients see, of Python and of JavaScript, and what runs on a busy thread do."""

_UNSEEN: Final = "API Gateway does not tell a function that its client has left"
_BEFORE: Final = "the answer is whole before the process that streams it has started"

_DESELECTED: Final = {
    "hook.sdk-1.15-stop": _UNSEEN,
    "hook.sdk-2.0-stop": _UNSEEN,
    "client.sdk-1.15-runs.stream: leaving cancels the run": _UNSEEN,
    "client.sdk-2.0-runs.stream: leaving cancels the run": _UNSEEN,
    "hook.react-1.1-chat": _BEFORE,
    "hook.react-1.1-reconnect on mount in the middle of a run": _BEFORE,
}
"""Scenarios of the JavaScript clients that are left out, with the reason."""

_SKIPPED: Final = {
    "stream.disconnect_cancel": _UNSEEN,
    "wait.disconnect_cancel": _UNSEEN,
}
"""Checks of the conformance suite that are left out, with the reason."""

_OUTCOME: Final = re.compile(r"^(PASS|FAIL) (\S+)(.*)", re.MULTILINE)


def run_own(deployed: Deployed, log: Path) -> str:
    """Run tests of this repository against a stack that serves tests/projects/basic.

    Args:
        deployed: The stack.
        log: Where all that they print goes.

    Returns:
        How many passed.

    Raises:
        CheckFailed: One did not.
    """
    command = (
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *_MODULES),
        *(f"--deselect=tests/js/test_javascript.py::test_a_scenario_passes[{name}]" for name in _DESELECTED),
    )
    # The official clients read their key from there.
    environment = {"SERVICE_URL": deployed.url, "LANGGRAPH_API_KEY": deployed.key, "TIME_SCALE": _TIME_SCALE}
    code, printed = _run(command, environment, log)
    *_, last = printed.strip().splitlines()
    if code or " passed" not in last:
        failed = [line for line in printed.splitlines() if line.startswith(("FAILED", "ERROR"))]
        raise CheckFailed("\n".join([last, *failed, f"All of it: {log}"]))
    return f"{last.strip('= ')}; left out: {_reasons(_DESELECTED)}"


def run_conformance(script: Path, deployed: Deployed, log: Path) -> str:
    """Run a conformance suite for LangGraph servers against a stack that serves the project beside it.

    Args:
        script: The suite: it takes `--base-url` and `--skip`, and prints PASS or FAIL and a name for each check.
        deployed: The stack.
        log: Where all that it prints goes.

    Returns:
        How many passed, and what was left out.

    Raises:
        CheckFailed: One did not pass.
    """
    command = (
        *(sys.executable, str(script), "--base-url", deployed.url),
        *("--jobs", "4", "--skip", ",".join(_SKIPPED)),
    )
    headers = json.dumps(
        {"authorization": f"Bearer {deployed.key}"}
    )  # the official client lets nobody set x-api-key
    _, printed = _run(command, {"CONF_HEADERS": headers, "CONF_TIME_SCALE": _TIME_SCALE}, log)
    outcomes = _OUTCOME.findall(printed)
    failed = [f"{name}{rest}" for outcome, name, rest in outcomes if outcome == "FAIL"]
    if failed or not outcomes:
        raise CheckFailed("\n".join([f"{len(failed)} of {len(outcomes)} checks failed:", *failed]))
    return f"{len(outcomes)} checks passed; left out: {_reasons(_SKIPPED)}"


def _reasons(left_out: Mapping[str, str]) -> str:
    return "; ".join(f"{name} ({reason})" for name, reason in left_out.items())


def _run(command: tuple[str, ...], environment: dict[str, str], log: Path) -> tuple[int, str]:
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=_LONGEST,
        )
    except subprocess.TimeoutExpired as exc:
        raise CheckFailed(f"{command[1]} did not end within {_LONGEST:.0f} s.") from exc
    log.write_text(ended.stdout)
    return ended.returncode, ended.stdout
