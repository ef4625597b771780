"""Tests that were written for other services, run against a deployed stack."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.e2e.deployed.deployments import ROOT, Deployed
from tests.e2e.deployed.steps import CheckFailed

_LONGEST: Final = 900.0

_MODULES: Final = (
    "tests/sdk/test_threads.py",
    "tests/sdk/test_assistants.py",
    "tests/e2e/test_busy_threads.py",
)
"""What the official client sees, and what runs on a busy thread do; none of it needs a stream before its end."""

_SKIPPED: Final = {
    "v2.": "a stream of events has no end of its own, and the local cloud gives streams whole",
    "stream.disconnect_cancel": "API Gateway does not tell a function that its client has left",
    "wait.disconnect_cancel": "API Gateway does not tell a function that its client has left",
    "ext.": "MCP is not served",
    "store.": "the store is not served",
    "crons.": "crons are not served",
    "sdk.store_crons_assistants": "neither the store nor crons are served",
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
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", *_MODULES)
    # The official client reads its key from there.
    code, printed = _run(command, {"SERVICE_URL": deployed.url, "LANGGRAPH_API_KEY": deployed.key}, log)
    *_, last = printed.strip().splitlines()
    if code or " passed" not in last:
        failed = [line for line in printed.splitlines() if line.startswith(("FAILED", "ERROR"))]
        raise CheckFailed("\n".join([last, *failed, f"All of it: {log}"]))
    return last.strip("= ")


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
    # A cold start on a busy laptop takes longer than any of its checks expects.
    _, printed = _run(command, {"CONF_HEADERS": headers, "CONF_TIME_SCALE": "4"}, log)
    outcomes = _OUTCOME.findall(printed)
    failed = [f"{name}{rest}" for outcome, name, rest in outcomes if outcome == "FAIL"]
    if failed or not outcomes:
        raise CheckFailed("\n".join([f"{len(failed)} of {len(outcomes)} checks failed:", *failed]))
    left_out = "; ".join(f"{name} ({reason})" for name, reason in _SKIPPED.items())
    return f"{len(outcomes)} checks passed; left out: {left_out}"


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
