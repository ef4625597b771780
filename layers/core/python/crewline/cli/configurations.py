"""The configuration file of the command line: profiles, each a service and the key for it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from crewline.cli.failures import CliError, ExitCode

URL: Final = "CREWLINE_URL"
PROFILE: Final = "CREWLINE_PROFILE"
API_KEY: Final = "CREWLINE_API_KEY"
LOCAL_URL: Final = "http://127.0.0.1:2024"
"""Where `crewline dev` answers."""

_PRIVATE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700
_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A service that somebody has given a name."""

    url: str
    api_key: str = field(default="", repr=False)
    """What to send there, and nowhere else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What the file says."""

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    default: str | None = None
    """The profile of commands that name none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The service that a command talks to."""

    url: str
    api_key: str = field(default="", repr=False)
    key_from: str = ""
    """Where the key comes from, for messages."""

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return is_loopback(self.url)


def path() -> Path:
    """Tell where the file is: `crewline/config.toml` where the XDG Base Directory Specification says.

    Raises:
        CliError: This user has no home folder.
    """
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # "All paths must be absolute; a relative one is to be ignored."
    try:
        folder = Path(base) if Path(base).is_absolute() else Path.home() / ".config"
    except RuntimeError as exc:
        raise CliError(
            "There is no home folder to look for profiles in; set HOME or XDG_CONFIG_HOME."
        ) from exc
    return folder / "crewline" / "config.toml"


def read() -> Configuration:
    """Read the file; without one there are no profiles.

    Raises:
        CliError: It cannot be read, or does not say what it must.
    """
    return _parse(_text())


def find(configuration: Configuration, name: str) -> Profile:
    """Find a profile by its name.

    Raises:
        CliError: There is none of this name.
    """
    if found := configuration.profiles.get(name):
        return found
    there = ", ".join(configuration.profiles) or "none yet"
    raise CliError(
        f"There is no profile {name!r} in {path()} (there are: {there}); `crewline profiles set` makes one.",
        ExitCode.NOT_FOUND,
    )


def choose(url: str | None, profile: str | None, environ: Mapping[str, str]) -> Place:
    """Find the service that a command talks to.

    A key that was stored for one URL is sent to no other.

    Args:
        url: What `--url` says.
        profile: What `--profile` says.
        environ: Usually `os.environ`.

    Returns:
        The service: `--url`, `--profile`, `CREWLINE_URL`, `CREWLINE_PROFILE`, the default profile, or the local
        service: what is typed goes before what was set some time ago.
        Its key: `CREWLINE_API_KEY`, or that of the profile with this URL; of another one than was chosen only
        where there is one alone, and no profile was typed.

    Raises:
        CliError: There is no such profile, the URL is none, or the file cannot be read.
    """
    configuration = read()
    wanted = profile or environ.get(PROFILE) or configuration.default
    kept = find(configuration, wanted) if wanted else Profile(url=LOCAL_URL)
    given = url or ("" if profile else environ.get(URL, ""))
    chosen = check_url(given) if given else kept.url
    if key := environ.get(API_KEY, "").strip():
        return Place(url=chosen, api_key=_check_key(key, API_KEY), key_from=API_KEY)
    if kept.api_key and chosen == kept.url:
        return Place(url=chosen, api_key=kept.api_key, key_from=f"profile {wanted}")
    others = [name for name, one in configuration.profiles.items() if one.url == chosen and one.api_key]
    if profile or len(others) != 1:  # of two keys nobody could say which one is meant
        return Place(url=chosen)
    return Place(
        url=chosen, api_key=configuration.profiles[others[0]].api_key, key_from=f"profile {others[0]}"
    )


def cautions(place: Place) -> Iterator[str]:
    """Say what is wrong with the way in which a service's key is kept or sent."""
    if place.api_key and not place.is_local and place.url.startswith("http:"):
        yield f"The API key goes to {place.url} unencrypted, for everybody on the way to read; use https."
    if place.api_key and place.key_from != API_KEY and path().stat().st_mode & _OTHERS:
        yield f"Others can read the API keys in {path()}; chmod 600 it."


def put(name: str, url: str, api_key: str | None) -> bool:
    """Keep a profile, new or anew. The first one becomes the default.

    Args:
        name: What to call it.
        url: Where its service is.
        api_key: The key for it; None keeps that of a profile with the same URL.

    Returns:
        Whether a key that was kept for another URL is gone.

    Raises:
        CliError: Name, URL or key are none, or the file cannot be read or written.
    """
    if not name or not all(one.isalnum() or one in "-_" for one in name):
        raise CliError(f"{name!r} is no name of a profile; use letters, digits, - and _.")
    url = check_url(url)
    before = read().profiles.get(name)
    same = before is not None and before.url == url
    if api_key is None and before and same:
        api_key = before.api_key
    document = _document()
    profiles = document.setdefault("profiles", {})
    entry = profiles.setdefault(name, {})
    entry["url"] = url
    entry.pop("api_key", None)
    if api_key:
        entry["api_key"] = _check_key(api_key, "what was given")
    document.setdefault("default", name)
    _write(document)
    return bool(before and before.api_key and not api_key)


def use(name: str) -> None:
    """Make a profile the default.

    Raises:
        CliError: There is none of this name, or the file cannot be read or written.
    """
    find(read(), name)
    document = _document()
    document["default"] = name
    _write(document)


def delete(name: str) -> None:
    """Remove a profile and its key.

    Raises:
        CliError: There is none of this name, or the file cannot be read or written.
    """
    find(read(), name)
    document = _document()
    del document["profiles"][name]
    if document.get("default") == name:
        del document["default"]
    _write(document)


def check_url(text: str) -> str:
    """Spell the URL of a service without a slash at its end.

    Raises:
        CliError: It is no URL of HTTP.
    """
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or parts.query or parts.fragment or parts.username is not None or not text.isprintable():
        raise CliError(
            f"{text!r} is no URL of a service; spell it like {LOCAL_URL} or https://example.com/stage."
        )
    return text.rstrip("/")


def is_loopback(url: str) -> bool:
    """Tell whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _check_key(key: str, source: str) -> str:
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise CliError(
            f"The API key in {source} has characters that no key has; `crewline keys create` makes one."
        )
    return key


def _text() -> str:
    try:
        return path().read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as exc:
        raise CliError(f"{path()} cannot be read: {exc}.") from exc


def _parse(text: str) -> Configuration:
    try:
        said: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise CliError(f"{path()} is not valid TOML: {exc}.") from exc
    entries, default = said.get("profiles", {}), said.get("default")
    if not isinstance(entries, dict) or not isinstance(default, str | None):
        raise CliError(f"{path()}: `default` is a name, and every profile a table [profiles.name].")
    profiles = {name: _profile(name, entry) for name, entry in entries.items()}
    return Configuration(profiles=profiles, default=default)


def _profile(name: str, entry: Any) -> Profile:
    url, key = (entry.get("url"), entry.get("api_key", "")) if isinstance(entry, dict) else (None, None)
    if not isinstance(url, str) or not isinstance(key, str):
        raise CliError(
            f"{path()}: profile {name!r} needs a `url`, and may have an `api_key`; both are strings."
        )
    return Profile(url=check_url(url), api_key=_check_key(key, f"profile {name}"))


def _document() -> Any:
    """Read the file so that what is written again keeps its comments."""
    import tomlkit

    return tomlkit.parse(_text())


def _write(document: Any) -> None:
    """Replace the file in one step, readable for its owner alone from its first byte on."""
    import tomlkit

    file = path().resolve()  # it may be a link into a folder that somebody keeps such files in
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_FOLDER)
        fresh.unlink(missing_ok=True)
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE), "w") as opened:
            opened.write(tomlkit.dumps(document))
        fresh.replace(file)
    except OSError as exc:
        raise CliError(f"{file} cannot be written: {exc.strerror}.") from exc
