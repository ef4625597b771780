"""API keys at a deployed API."""

from __future__ import annotations

import json
import time
from typing import Any, Final

import httpx

from tests.e2e.deployed.deployments import Deployed, Deployer
from tests.e2e.deployed.steps import CheckFailed

_PATHS: Final = {"/threads/{id}": 404, "/threads/{id}/state": 404, "/threads/{id}/runs/{id}/join": 200}
"""One of each function that answers requests (api, crew, tail), and what a good key is answered for nothing."""
_ID: Final = "01a1fbe4-cd5a-7364-979b-8e5b8bd61d17"
_WITHIN: Final = 60.0
"""Seconds within which a revoked key is refused."""


def check_keys(deployer: Deployer, deployed: Deployed) -> tuple[str, float]:
    """Call every function without a key and with keys of several kinds; revoke one that they have seen.

    Returns:
        The revoked key, and the moment of its revocation.

    Raises:
        CheckFailed: A function took a key that it must not take, or the other way round.
    """
    reading = deployer.make_key(deployed.stack, "read")
    for path, status in _PATHS.items():
        _expect(deployed, path, None, 401)
        _expect(deployed, path, deployed.key[:-1] + "!", 401)
        _expect(deployed, path, reading["key"], status)
    posted = httpx.post(f"{deployed.url}/threads", json={}, headers={"x-api-key": reading["key"]}, timeout=60)
    if posted.status_code != httpx.codes.FORBIDDEN:
        raise CheckFailed(f"A key that may read made a thread: {posted.status_code} {posted.text}")
    revoke = ("keys", "revoke", reading["key_id"], "--stack", deployed.stack, "--json")
    deployer.crewline(*revoke)
    revoked = time.monotonic()
    rows: list[dict[str, Any]] = json.loads(
        deployer.crewline("keys", "list", "--stack", deployed.stack, "--json")
    )
    if [row["key_id"] for row in rows if row["revoked_at"]] != [reading["key_id"]]:
        raise CheckFailed(f"The list shows another key as revoked than {reading['key_id']}: {rows}")
    return reading["key"], revoked


def check_revoked(deployed: Deployed, revoked: tuple[str, float]) -> str:
    """Wait until a minute has passed since a key was revoked, and see that no function takes it.

    Raises:
        CheckFailed: One did.
    """
    key, since = revoked
    time.sleep(max(0.0, since + _WITHIN - time.monotonic()))
    for path in _PATHS:
        _expect(deployed, path, key, 401)
    return "api, crew and tail refuse it"


def _expect(deployed: Deployed, path: str, key: str | None, status: int) -> None:
    headers = {"x-api-key": key} if key else {}
    answer = httpx.get(f"{deployed.url}{path.format(id=_ID)}", headers=headers, timeout=60)
    if answer.status_code != status:
        raise CheckFailed(f"GET {path} answered {answer.status_code} {answer.text}, not {status}.")
