"""`crewline webhooks`: addresses at which others start runs of a deployment by posting to them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crewline.cli.options import STACK, AsJson, Stack, TableName
from crewline.models.webhook_tokens import PATH, WebhookToken

if TYPE_CHECKING:
    from crewline.services.webhook_tokens import WebhookTokens

app = typer.Typer(
    help=(
        "Make, list, rotate and revoke addresses at which anybody who knows one starts runs of one deployment; "
        "print the secret that signs what is posted when runs end.\n\n"
        "They are kept in the table of the service, which is reached with the AWS credentials of this environment."
    ),
    no_args_is_help=True,
)

Tenant = Annotated[str, typer.Option(metavar="NAME", help="Whose runs they start: a-z, 0-9 and -.")]
WebhookId = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The webhook's id: the third part of its token, and in lists the first."
    ),
]
_TENANT = "default"


@app.command(epilog="Example: crewline webhooks create planner --label forms")
def create(
    deployment: Annotated[
        str, typer.Argument(metavar="DEPLOYMENT", help="What they run: an id (dep_… or UUID) or a name.")
    ],
    label: Annotated[str, typer.Option(help="What to call it in lists.")] = "",
    tenant: Tenant = _TENANT,
    stack: Stack = STACK,
    table: TableName = None,
    as_json: AsJson = False,
) -> None:
    """Make an address and print its path, once: what is kept of it cannot bring it back."""
    with _tokens(stack, table) as tokens:
        made, text = tokens.create(tenant, deployment, label)
    _print_path(made, text, as_json=as_json)
    typer.echo(
        f"Webhook {made.token_id} of tenant {tenant} starts runs of {made.deployment}. Its path follows the "
        "service's URL, and is not shown again.",
        err=True,
    )


@app.command("list", epilog="Example: crewline webhooks list --json")
def list_(
    tenant: Tenant = _TENANT, stack: Stack = STACK, table: TableName = None, as_json: AsJson = False
) -> None:
    """List the webhooks of a tenant, the newest first, revoked ones too; no token is shown."""
    with _tokens(stack, table) as tokens:
        found = tokens.list(tenant)
    if as_json:
        typer.echo(json.dumps([_row(token) for token in found]))
        return
    for token in found:
        state = f"revoked {token.revoked_at}" if token.revoked_at else "good"
        made = f"rotated {token.rotated_at}" if token.rotated_at else f"made {token.created_at}"
        typer.echo("  ".join((token.token_id, token.deployment, made, state, token.label)).rstrip())
    if not found:
        typer.echo(
            f"Tenant {tenant} has no webhooks; `crewline webhooks create DEPLOYMENT --tenant {tenant}` makes one.",
            err=True,
        )


@app.command(epilog="Example: crewline webhooks rotate 4tq0x8m2c9kd")
def rotate(
    webhook_id: WebhookId,
    tenant: Tenant = _TENANT,
    stack: Stack = STACK,
    table: TableName = None,
    as_json: AsJson = False,
) -> None:
    """Give a webhook another path and print it, once; the one before starts nothing from now on."""
    with _tokens(stack, table) as tokens:
        made, text = tokens.rotate(tenant, webhook_id)
    _print_path(made, text, as_json=as_json)
    typer.echo(
        f"Webhook {webhook_id} of tenant {tenant} has this path alone. It is not shown again.", err=True
    )


@app.command(epilog="Example: crewline webhooks revoke 4tq0x8m2c9kd")
def revoke(
    webhook_id: WebhookId,
    tenant: Tenant = _TENANT,
    stack: Stack = STACK,
    table: TableName = None,
    as_json: AsJson = False,
) -> None:
    """Revoke a webhook: it starts nothing from now on."""
    with _tokens(stack, table) as tokens:
        revoked = tokens.revoke(tenant, webhook_id)
    if as_json:
        typer.echo(json.dumps(_row(revoked)))
        return
    typer.echo(f"Webhook {webhook_id} of tenant {tenant} was revoked at {revoked.revoked_at}.")


@app.command(epilog="Example: crewline webhooks secret --tenant acme")
def secret(
    tenant: Annotated[
        str, typer.Option(metavar="NAME", help="Whose webhooks it signs: a-z, 0-9 and -.")
    ] = _TENANT,
    stack: Stack = STACK,
    table: TableName = None,
    as_json: AsJson = False,
) -> None:
    """Print the secret that signs what is posted when runs end, for whoever has to check it."""
    from crewline.services.webhooks import signing_secret
    from crewline.store import deployments

    with deployments.reached(stack=stack, table=table) as found:
        text = signing_secret(found, tenant)
    typer.echo(json.dumps({"tenant": tenant, "secret": text}) if as_json else text)


@contextmanager
def _tokens(stack: str, table: str | None) -> Iterator[WebhookTokens]:
    from crewline.models.clocks import system_clock  # boto3 and pydantic, which `--help` does not need
    from crewline.services.webhook_tokens import WebhookTokens
    from crewline.store import deployments

    with deployments.reached(stack=stack, table=table) as found:
        yield WebhookTokens(found, system_clock)


def _print_path(token: WebhookToken, text: str, *, as_json: bool) -> None:
    path = f"{PATH}{text}"
    typer.echo(json.dumps({**_row(token), "path": path}) if as_json else path)


def _row(token: WebhookToken) -> dict[str, Any]:
    return {
        "webhook_id": token.token_id,
        "tenant": token.tenant,
        "deployment": token.deployment,
        "label": token.label,
        "created_at": token.created_at,
        "rotated_at": token.rotated_at,
        "revoked_at": token.revoked_at,
    }
