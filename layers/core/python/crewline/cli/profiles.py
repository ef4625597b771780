"""`crewline profiles`: services that the command line knows by name."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from crewline.cli import options
from crewline.cli.failures import CliError
from crewline.cli.options import AsJson

app = typer.Typer(
    help=(
        "Keep services by name, with the API key for each.\n\n"
        "They are in crewline/config.toml under $XDG_CONFIG_HOME (~/.config), readable for you alone."
    ),
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The profile.")]


@app.command("set", epilog="Example: crewline profiles set production --url https://example.com/prod")
def set_(
    name: Name,
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Where the service is.")],
    key: Annotated[
        bool,
        typer.Option(
            "--key", help="Ask for its API key, which nobody sees; from a pipe, its first line is the key."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Keep a profile, new or anew; the first one is the default.

    A key goes to the URL that it was kept with, and nowhere else.
    """
    from crewline.cli import configurations, screens

    given = options.ask_secret("API key").strip() if key else None
    if given == "":
        raise CliError("There was no key in what was given; without --key the profile has none.")
    lost = configurations.put(name, url, given)
    if as_json:
        screens.print_json(_row(name))
    else:
        screens.console().print(f"Profile {name} is kept in {configurations.path()}.", markup=False)
    if lost:
        screens.notes().print(
            f"Its API key was for another URL and is gone; add --key to give one for {url}.", markup=False
        )


@app.command("list", epilog="Example: crewline profiles list")
def list_(as_json: AsJson = False) -> None:
    """List the profiles; the default one has a star. No key is shown."""
    from crewline.cli import configurations, screens

    names = configurations.read().profiles
    if as_json:
        screens.print_json([_row(name) for name in names])
        return
    rows = [_row(name) for name in names]
    if rows:
        screens.show_table(
            ("", "profile", "url", "key"),
            [
                ("*" if row["default"] else "", row["name"], row["url"], "yes" if row["api_key"] else "no")
                for row in rows
            ],
        )
    else:
        screens.notes().print("There are no profiles; `crewline profiles set NAME --url URL` makes one.")


@app.command(epilog="Example: crewline profiles use production")
def use(name: Name, as_json: AsJson = False) -> None:
    """Make a profile the default, for commands that name none."""
    from crewline.cli import configurations, screens

    configurations.use(name)
    if as_json:
        screens.print_json(_row(name))
    else:
        screens.console().print(f"Profile {name} is the default.", markup=False)


@app.command(epilog="Example: crewline profiles delete production")
def delete(name: Name, as_json: AsJson = False) -> None:
    """Forget a profile and its key. The key stays good: `crewline keys revoke` ends it."""
    from crewline.cli import configurations, screens

    row = _row(name)
    configurations.delete(name)
    if as_json:
        screens.print_json(row)
    else:
        screens.console().print(f"Profile {name} is forgotten.", markup=False)


def _row(name: str) -> dict[str, Any]:
    """Show a profile without its key."""
    from crewline.cli import configurations

    configuration = configurations.read()
    profile = configurations.find(configuration, name)
    return {
        "name": name,
        "url": profile.url,
        "api_key": bool(profile.api_key),
        "default": name == configuration.default,
    }
