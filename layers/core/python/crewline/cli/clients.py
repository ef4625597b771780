"""A client of a service: JSON in, JSON out, and errors as commands end with them."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, Never, Self
from uuid import uuid4

import httpx
from httpx_sse import EventSource

from crewline.cli import configurations, screens
from crewline.cli.configurations import API_KEY, Place
from crewline.cli.failures import CliError, ExitCode, exit_code_of_status

_TIMEOUT: Final = httpx.Timeout(60, connect=10)
"""Seconds; an answer takes no longer than API Gateway waits (29), a stream is never silent for longer (15)."""
_PAUSES: Final = (0.2, 0.5, 1, 2, 5, 10)
"""Seconds between attempts to reconnect; without an event on the way, the last attempt is the end."""
_MOST_SHOWN: Final = 2_000
_UNAUTHENTICATED: Final = 401
_NOT_FOUND: Final = 404
_V1: Final = re.compile(r"(^|/)v1/")
_ERROR_NUMBER: Final = re.compile(r"^\[errno -?\d+\] ")
_TRANSIENT: Final = frozenset((429, 500, 502, 503, 504))


class Event(NamedTuple):
    """One event of a stream."""

    id: str
    data: dict[str, Any]
    """What it says, as the service has sent it."""


class Service:
    """A service, as commands use it; one connection, to be closed by `with`.

    Args:
        place: Where it is, and the key for it.
        pause: Waits for some seconds before a lost stream is asked for again.
    """

    def __init__(self, place: Place, *, pause: Callable[[float], object] = time.sleep) -> None:
        self._place = place
        self._pause = pause
        headers = {"authorization": f"Bearer {place.api_key}"} if place.api_key else {}
        # Proxies of the environment are for elsewhere; and reading certificates takes longer than many requests.
        self._client = httpx.Client(
            base_url=place.url,
            headers=headers,
            timeout=_TIMEOUT,
            trust_env=not place.is_local,
            verify=place.url.startswith("https:"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """Read something; a parameter that is None is left out.

        Raises:
            CliError: It is not there, may not be read, or the service does not answer.
        """
        return self._thing(self._ask("GET", path, query=query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make or change something, once: every request has an idempotency key of its own.

        Raises:
            CliError: The service refuses it or does not answer.
        """
        return self._thing(
            self._ask("POST", path, body=body or {}, headers={"idempotency-key": str(uuid4())})
        )

    def search(self, path: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Find things by what a body says of them.

        Raises:
            CliError: The service refuses it or does not answer.
        """
        found = self._ask("POST", path, body=body)
        if not isinstance(found, list):
            raise self._stranger()
        return [self._thing(one) for one in found]

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change something.

        Raises:
            CliError: The service refuses it or does not answer.
        """
        return self._thing(self._ask("PATCH", path, body=body))

    def delete(self, path: str) -> None:
        """Delete something.

        Raises:
            CliError: The service refuses it or does not answer.
        """
        self._ask("DELETE", path)

    def events(self, path: str, *, is_last: Callable[[Mapping[str, Any]], bool]) -> Iterator[Event]:
        """Follow a stream to its end, over as many connections as it takes.

        Args:
            path: The stream.
            is_last: Tells of an event whether nothing comes after it.

        Yields:
            Every event once.

        Raises:
            CliError: The service refuses it, or stays away.
        """
        last_id, failures = "", 0
        while True:
            lost = "the stream ended before its last event"
            try:
                for event in self._stream(path, last_id):
                    if event.id not in ("", last_id):  # one that is repeated is no progress
                        last_id, failures = event.id, 0
                    yield event
                    if is_last(event.data):
                        return
            except _Lost as exc:
                lost = str(exc)
            if failures == len(_PAUSES):
                raise CliError(
                    f"The connection to {self._place.url} was lost, and again each time: {lost}. Try again.",
                    ExitCode.UNAVAILABLE,
                )
            self._pause(_PAUSES[failures])
            failures += 1

    def _stream(self, path: str, last_id: str) -> Iterator[Event]:
        headers = {"accept": "text/event-stream", "cache-control": "no-store"}
        if last_id:
            headers["last-event-id"] = last_id
        try:
            with self._client.stream("GET", path, headers=headers) as response:
                if response.status_code in _TRANSIENT and last_id:
                    raise _Lost(f"status {response.status_code}")
                if not response.is_success:
                    response.read()
                    raise self._refusal(response)
                if not response.headers.get("content-type", "").startswith("text/event-stream"):
                    raise self._stranger()
                for sse in EventSource(response).iter_sse():
                    if sse.data:  # else it says only that the connection lives
                        yield Event(sse.id, self._object(sse.data))
        except httpx.ConnectError as exc:
            if not last_id:
                raise self._unreachable(exc) from exc
            raise _Lost(_reason(exc)) from exc
        except httpx.RequestError as exc:
            raise _Lost(_reason(exc)) from exc
        except ValueError as exc:
            raise self._stranger() from exc

    def _object(self, text: str) -> dict[str, Any]:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise self._stranger()
        return value

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        params = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            response = self._client.request(method, path, params=params, json=body, headers=headers)
        except httpx.RequestError as exc:
            raise self._unreachable(exc) from exc
        if not response.is_success:
            raise self._refusal(response)
        try:
            return response.json() if response.content else None
        except ValueError as exc:
            raise self._stranger() from exc

    def _thing(self, answer: Any) -> dict[str, Any]:
        if not isinstance(answer, dict):
            raise self._stranger()
        return _Thing(answer, self._stranger())

    def _refusal(self, response: httpx.Response) -> CliError:
        status = response.status_code
        if status == _UNAUTHENTICATED:
            return self._unauthenticated()
        if status == _NOT_FOUND and not _names_a_thing(response):
            return self._stranger(f" (it has no {response.url.path})")
        said = _sentence(response)
        if response.is_redirect:
            said = f"{self._place.url} answers from {response.headers.get('location', 'elsewhere')}; give that with --url."
        return CliError(
            said
            or f"{self._place.url} answered with status {status} and does not say why; look into its logs.",
            exit_code_of_status(status),
        )

    def _unauthenticated(self) -> CliError:
        url = self._place.url
        if not self._place.api_key:
            return CliError(
                f"{url} wants an API key, and none is kept for it; set {API_KEY}, or keep one with "
                f"`crewline profiles set NAME --url {url} --key`.",
                ExitCode.AUTHENTICATION,
            )
        return CliError(
            f"{url} does not know the API key of {self._place.key_from}; "
            "`crewline keys list` says which are good, `crewline keys create` makes one.",
            ExitCode.AUTHENTICATION,
        )

    def _unreachable(self, exc: httpx.RequestError) -> CliError:
        url = self._place.url
        if isinstance(exc, httpx.TimeoutException) and not isinstance(exc, httpx.ConnectTimeout):
            return CliError(f"{url} did not answer in time; try again.", ExitCode.UNAVAILABLE)
        start = "start it with `crewline dev`, or " if self._place.is_local else ""
        return CliError(
            f"No service answers at {url} ({_reason(exc)}); {start}name another with --url.",
            ExitCode.UNAVAILABLE,
        )

    def _stranger(self, why: str = "") -> CliError:
        return CliError(
            f"What answers at {self._place.url} is no Crewline service{why}; name another with --url.",
            ExitCode.UNAVAILABLE,
        )


def reached(url: str | None, profile: str | None) -> Service:
    """Make the client of the service that a command talks to.

    Args:
        url: What `--url` says.
        profile: What `--profile` says.

    Raises:
        CliError: See `configurations.choose`.
    """
    place = configurations.choose(url, profile, os.environ)
    for caution in configurations.cautions(place):
        screens.notes().print(f"Warning: {caution}", markup=False)
    try:
        return Service(place)
    except httpx.InvalidURL as exc:
        raise CliError(f"{place.url!r} is no URL of a service: {exc}.") from exc


class _Thing(dict[str, Any]):
    """What a service has answered; one that lacks what every Crewline service says is none."""

    def __init__(self, answer: Mapping[str, Any], stranger: CliError) -> None:
        super().__init__(answer)
        self._stranger = stranger

    def __missing__(self, _key: str) -> Never:
        raise self._stranger


class _Lost(Exception):
    """A stream has broken off."""


def _names_a_thing(response: httpx.Response) -> bool:
    """Tell whether a thing is absent, which a service says in its API's shape, or the whole API is."""
    said = _said(response)
    return isinstance(said.get("error"), dict) or (not _V1.search(response.url.path) and "detail" in said)


def _sentence(response: httpx.Response) -> str:
    """Find what a refusal says: in the words of `/v1`, of the LangGraph API or of API Gateway."""
    body = _said(response)
    error = body.get("error")
    said = (
        (error.get("message") if isinstance(error, dict) else None)
        or body.get("detail")
        or body.get("message")
    )
    return str(said or "")[:_MOST_SHOWN]


def _said(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _reason(exc: httpx.RequestError) -> str:
    return _ERROR_NUMBER.sub("", str(exc).strip().rstrip(".").lower()) or type(exc).__name__
