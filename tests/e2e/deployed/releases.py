"""Versions of a deployed stack: what a run says of its own, and an older one that is live again."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import httpx

from tests.e2e.deployed.deployments import Deployed, Deployer
from tests.e2e.deployed.steps import CheckFailed

_PATIENCE_S: Final = 60
_POLL_S: Final = 0.2


def expect_version(deployed: Deployed, number: int) -> str:
    """Start a run by `/v1`, wait for its end, and see which version it says that it is of.

    Raises:
        CheckFailed: It is of another one, or did not succeed.
    """
    body = {"deployment_id": "echo", "input": {"messages": [{"role": "user", "content": "which?"}]}}
    headers = {"authorization": f"Bearer {deployed.key}"}
    with httpx.Client(base_url=deployed.url, headers=headers, timeout=_PATIENCE_S) as http:
        started: dict[str, Any] = http.post("/v1/runs", json=body).raise_for_status().json()
        if started["version_number"] != number:
            raise CheckFailed(
                f"A run is of version {started['version_number']}, and not of {number}: {started}."
            )
        deadline = time.monotonic() + _PATIENCE_S
        run: dict[str, Any] = {"status": "pending"}
        while run["status"] in {"pending", "running"}:
            if time.monotonic() > deadline:
                raise CheckFailed(f"A run of version {number} is not over after {_PATIENCE_S} s: {run}.")
            time.sleep(_POLL_S)
            run = http.get(f"/v1/runs/{started['run_id']}").raise_for_status().json()
    if (run["status"], run["version_id"]) != ("succeeded", started["version_id"]):
        raise CheckFailed(f"A run of version {started['version_id']} ended as {run}.")
    return f"version {number} is {run['version_id']}"


def roll_back(deployer: Deployer, deployed: Deployed) -> None:
    """Make the version before the live one live, and see that the list says so.

    Raises:
        CheckFailed: It does not, or nothing was rolled back.
    """
    before = _live(deployer, deployed)
    told = json.loads(deployer.crewline("deploy", "--rollback", "--stack", deployed.stack, "--json"))
    after = _live(deployer, deployed)
    if (told["number"], told["changed"], after) != (before - 1, True, before - 1):
        raise CheckFailed(f"Version {before} was live, then {after}; the rollback said {told}.")


def _live(deployer: Deployer, deployed: Deployed) -> int:
    rows = json.loads(deployer.crewline("versions", "--stack", deployed.stack, "--json"))
    live: list[int] = [row["number"] for row in rows if row["live"]]
    if len(live) != 1:
        raise CheckFailed(f"One version must be live: {rows}.")
    return live[0]
