"""Each user has what they made, and sees nothing else."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from langgraph_sdk import Auth

USERS = {
    "ann-token": "ann",
    "bob-token": "bob",
    "carl-token": "carl",
    "dora-token": "dora",
    "erin-token": "erin",
}

auth = Auth()


@auth.authenticate
async def authenticate(authorization: str | None) -> dict[str, Any]:
    """Know users by their tokens."""
    token = (authorization or "").removeprefix("Bearer ")
    if token not in USERS:
        raise Auth.exceptions.HTTPException(
            status_code=401, detail="Who are you?", headers={"WWW-Authenticate": 'Bearer realm="users"'}
        )
    name = USERS[token]
    return {
        "identity": name,
        "display_name": name.title(),
        "permissions": ["all"],
        "secret": f"{name}-s3cret",
    }


@auth.on
async def owned(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> dict[str, str]:
    """Stamp what is made, what is Erin's with something else each time, and show what is stamped so."""
    value.setdefault("metadata", {})["owner"] = ctx.user.identity
    if ctx.user.identity == "erin":
        value["metadata"]["drawn"] = uuid4().hex
    return {"owner": ctx.user.identity}


@auth.on.threads.create_run
async def priced(ctx: Auth.types.AuthContext, value: Any) -> dict[str, str]:
    """Say whose money a run of Dora's spends, whatever she sends, and let her have nobody called back."""
    if ctx.user.identity == "dora":
        value["kwargs"]["config"] = {"configurable": {"budget": "doras"}}
        value["kwargs"].pop("webhook", None)
    return await owned(ctx, value)


@auth.on.store
async def scoped(ctx: Auth.types.AuthContext, value: dict[str, Any]) -> None:
    """Give every user a root of their own."""
    value["namespace"] = (ctx.user.identity, *(value.get("namespace") or ()))
