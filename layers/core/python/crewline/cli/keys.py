"""`crewline keys`: make, list and revoke the API keys of a deployment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from crewline.cli.options import STACK, AsJson, Stack, TableName
from crewline.models.api_keys import SCOPES, ApiKey, parse_scope

if TYPE_CHECKING:
    from crewline.services.api_keys import ApiKeys

app = typer.Typer(
    help=(
        "Make, list and revoke API keys of a deployment.\n\n"
        "They are kept in its table, which is reached with the AWS credentials of this environment: who may write "
        "to the table may make keys."
    ),
    no_args_is_help=True,
)

Tenant = Annotated[str, typer.Option(metavar="NAME", help="Whose data the keys open: a-z, 0-9 and -.")]
_TENANT: Final = "default"


@app.command(epilog="Example: crewline keys create --tenant acme --scope read --scope run --label 'web shop'")
def create(
    tenant: Tenant = _TENANT,
    scope: Annotated[
        list[str],
        typer.Option(
            metavar="|".join(SCOPES),
            help="What it allows, and nothing beside: to read; to make and change threads and runs; to change "
            "assistants and to prune. May be given several times.",
        ),
    ] = ["read", "run"],  # noqa: B006 (typer makes a list of its own)
    label: Annotated[str, typer.Option(help="What to call it in lists.")] = "",
    stack: Stack = STACK,
    table: TableName = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once: what is kept of it cannot bring it back."""
    with _api_keys(stack, table) as keys:
        made, text = keys.create(tenant, [parse_scope(one) for one in scope], label)
    typer.echo(json.dumps({**_row(made), "key": text}) if as_json else text)
    typer.echo(f"Key {made.key_id} of tenant {tenant}: {_scopes(made)}. It is not shown again.", err=True)


@app.command("list", epilog="Example: crewline keys list --tenant acme --json")
def list_(
    tenant: Tenant = _TENANT, stack: Stack = STACK, table: TableName = None, as_json: AsJson = False
) -> None:
    """List the keys of a tenant, the newest first, revoked ones too."""
    with _api_keys(stack, table) as keys:
        found = keys.list(tenant)
    if as_json:
        typer.echo(json.dumps([_row(key) for key in found]))
        return
    for key in found:
        state = f"revoked {key.revoked_at}" if key.revoked_at else "good"
        typer.echo(
            "  ".join(
                (key.key_id, f"{_scopes(key):<16}", f"made {key.created_at}", state, key.label)
            ).rstrip()
        )
    if not found:
        typer.echo(
            f"Tenant {tenant} has no keys; `crewline keys create --tenant {tenant}` makes one.", err=True
        )


@app.command(epilog="Example: crewline keys revoke 4tq0x8m2c9kd --tenant acme")
def revoke(
    key_id: Annotated[
        str, typer.Argument(metavar="ID", help="The key's id: its third part, and in lists its first.")
    ],
    tenant: Tenant = _TENANT,
    stack: Stack = STACK,
    table: TableName = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a key: within a minute it opens nothing any more, and streams that it has opened are broken off."""
    with _api_keys(stack, table) as keys:
        revoked = keys.revoke(tenant, key_id)
    if as_json:
        typer.echo(json.dumps(_row(revoked)))
        return
    typer.echo(
        f"Key {key_id} of tenant {tenant} was revoked at {revoked.revoked_at}; it is refused everywhere within 60 s."
    )


@contextmanager
def _api_keys(stack: str, table: str | None) -> Iterator[ApiKeys]:
    from crewline.models.clocks import system_clock  # boto3 and pydantic, which `--help` does not need
    from crewline.services.api_keys import ApiKeys
    from crewline.store import deployments

    with deployments.reached(stack=stack, table=table) as found:
        yield ApiKeys(found, system_clock)


def _row(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "tenant": key.tenant,
        "scopes": [scope for scope in SCOPES if scope in key.scopes],
        "label": key.label,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    }


def _scopes(key: ApiKey) -> str:
    return ", ".join(_row(key)["scopes"])
