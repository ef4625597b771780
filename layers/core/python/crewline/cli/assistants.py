"""`crewline assistants`: named configurations of the crews; `/v1` calls them deployments."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crewline.cli.options import AsJson, ProfileName, Url, Yes, given, parse_object

app = typer.Typer(
    help=(
        "Make and change assistants: crews with a configuration of their own.\n\n"
        "Every crew has a default one. What runs are started with is an assistant, which other commands "
        "call a deployment."
    ),
    no_args_is_help=True,
)

Id = Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Its id (dep_… or UUID) or its name.")]
Config = Annotated[
    str | None, typer.Option("--config", metavar="JSON", help="What its runs are configured with.")
]
Metadata = Annotated[str | None, typer.Option("--metadata", metavar="JSON", help="Facts about it.")]
Webhook = Annotated[
    str | None, typer.Option("--webhook", metavar="URL", help="Tell this URL how its runs end.")
]
Description = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")]


@app.command("list", epilog="Example: crewline assistants list --crew planner")
def list_(
    crew: Annotated[str | None, typer.Option("--crew", metavar="NAME", help="Of this crew alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 100,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """List the assistants of a service by name."""
    from crewline.cli import clients, screens
    from crewline.models.public_ids import public_id

    asked = given(limit=limit, graph_id=crew, sort_by="name", sort_order="asc")
    with clients.reached(url, profile) as service:
        found = service.search("/assistants/search", asked)
    if as_json:
        screens.print_json(found)
        return
    screens.show_table(
        ("deployment", "name", "crew", "version", "updated"),
        [
            (
                public_id("deployment", one["assistant_id"]),
                one["name"],
                one["graph_id"],
                str(one["version"]),
                screens.moment(one["updated_at"]),
            )
            for one in found
        ],
    )


@app.command(epilog="Example: crewline assistants get planner")
def get(assistant: Id, url: Url = None, profile: ProfileName = None, as_json: AsJson = False) -> None:
    """Show an assistant."""
    from crewline.cli import clients

    with clients.reached(url, profile) as service:
        _show(service.get(_path(service, assistant)), as_json)


@app.command(
    epilog="Example: crewline assistants create --crew planner --name 'short plans' "
    """--config '{"configurable": {"length": "short"}}'"""
)
def create(
    *,
    crew: Annotated[str, typer.Option("--crew", metavar="NAME", help="The crew that it configures.")],
    name: Annotated[str | None, typer.Option("--name", help="What to call it.")] = None,
    config: Config = None,
    metadata: Metadata = None,
    webhook: Webhook = None,
    description: Description = None,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Make an assistant."""
    from crewline.cli import clients

    body = given(graph_id=crew, name=name, description=description, **_configured(config, metadata, webhook))
    with clients.reached(url, profile) as service:
        _show(service.post("/assistants", body), as_json)


@app.command(epilog="Example: crewline assistants update 'short plans' --description 'One page at most'")
def update(
    assistant: Id,
    *,
    name: Annotated[str | None, typer.Option("--name", help="What to call it from now on.")] = None,
    config: Config = None,
    metadata: Metadata = None,
    webhook: Webhook = None,
    description: Description = None,
    url: Url = None,
    profile: ProfileName = None,
    as_json: AsJson = False,
) -> None:
    """Change an assistant: metadata is merged key by key, a config replaces the one before."""
    from crewline.cli import clients
    from crewline.cli.failures import CliError

    body = given(name=name, description=description, **_configured(config, metadata, webhook))
    if not body:
        raise CliError("Say what to change: --name, --description, --config, --metadata or --webhook.")
    with clients.reached(url, profile) as service:
        _show(service.patch(_path(service, assistant), body), as_json)


@app.command(epilog="Example: crewline assistants delete 'short plans' --yes")
def delete(
    assistant: Id, yes: Yes = False, url: Url = None, profile: ProfileName = None, as_json: AsJson = False
) -> None:
    """Delete an assistant with all its versions; its threads stay. The default one of a crew cannot go."""
    from crewline.cli import clients, screens

    with clients.reached(url, profile) as service:
        path = _path(service, assistant)
        row = service.get(path)
        screens.confirm(f"Delete assistant {row['name']}?", yes=yes)
        service.delete(path)
    if as_json:
        screens.print_json(row)
    else:
        screens.console().print(f"Assistant {screens.plain(row['name'])} is deleted.", markup=False)


def _configured(config: str | None, metadata: str | None, webhook: str | None) -> dict[str, Any]:
    from crewline.models.assistants import WEBHOOK  # pydantic, which `--help` does not need

    facts = parse_object(metadata, "--metadata") if metadata is not None else None
    if webhook:
        facts = {**(facts or {}), WEBHOOK: webhook}
    return given(config=parse_object(config, "--config") if config is not None else None, metadata=facts)


def _path(service: Any, assistant: str) -> str:
    from crewline.cli import addresses
    from crewline.models.public_ids import parse_public_id

    found = addresses.find_deployment(service, assistant)
    return f"/assistants/{parse_public_id('deployment', found)}"


def _show(assistant: dict[str, Any], as_json: bool) -> None:
    from crewline.cli import screens
    from crewline.models.public_ids import public_id

    if as_json:
        screens.print_json(assistant)
        return
    shown = {
        "deployment": public_id("deployment", assistant["assistant_id"]),
        "name": assistant["name"],
        "crew": assistant["graph_id"],
        "version": assistant["version"],
        "description": assistant["description"],
        "config": assistant["config"],
        "context": assistant["context"],
        "metadata": assistant["metadata"],
        "created": screens.moment(assistant["created_at"]),
        "updated": screens.moment(assistant["updated_at"]),
    }
    screens.show_fields({name: value for name, value in shown.items() if value not in (None, {}, "")})
