"""A project's own authentication: a `langgraph_sdk.Auth`, loaded, and asked who a user is and what they may do.

Its functions run on one event loop for ever: what a project keeps between requests, a client say, belongs to it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import orjson

from crewline.errors import BadManifest, CrewlineError, Forbidden, Unauthenticated, Unavailable
from crewline.http.errors import Denied
from crewline.models.manifests import AuthEntry, Manifest
from crewline.models.modules import load
from crewline.models.users import Filters, User

T = TypeVar("T")

LONGEST_S: Final = 20.0
"""How long the project's code may think about one request: API Gateway waits for 29 seconds."""
LARGEST_USER: Final = 16_384
"""Bytes of a user as JSON: it is kept with every run."""

_PARAMETERS: Final = frozenset(
    ("authorization", "body", "headers", "method", "path", "path_params", "query_params", "request")
)
"""What an authenticate function may ask for by name."""
_USER_FIELDS: Final = ("identity", "display_name", "is_authenticated", "permissions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a request says of who sends it."""

    method: str
    path: str
    headers: Mapping[str, str]
    """By lower-case name."""
    path_params: Mapping[str, str] = field(default_factory=dict)
    query_params: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


class Authority:
    """Asks a project's own authentication; safe for many threads.

    Args:
        auth: The project's `langgraph_sdk.Auth`.
        where: Begins what errors say: what this is, and its file.

    Raises:
        BadManifest: It is none, or says not how to authenticate, or asks for what there is not.
    """

    def __init__(self, auth: Any, *, where: str) -> None:
        from langgraph_sdk.auth import Auth, types  # noqa: PLC0415  half a second that no other project pays

        if not isinstance(auth, Auth):
            raise BadManifest(f"{where} is a {type(auth).__name__}, not a langgraph_sdk.Auth.")
        if auth._authenticate_handler is None:  # noqa: SLF001 (what servers are to read, says the SDK)
            raise BadManifest(f"{where} has no function with @auth.authenticate, so nobody could get in.")
        self._authenticate: Callable[..., Any] = auth._authenticate_handler  # noqa: SLF001
        self._handlers = {place: found[-1] for place, found in auth._handlers.items()}  # noqa: SLF001
        self._general = auth._global_handlers[-1] if auth._global_handlers else None  # noqa: SLF001
        self._context = types.AuthContext
        self._asked = _asked(self._authenticate, where)
        self._loop = _loop()

    @property
    def wants_body(self) -> bool:
        """Whether the body of a request says who sends it."""
        return bool(self._asked & {"body", "request"})

    def authenticate(self, sent: Credentials) -> User:
        """Tell who sends a request.

        Raises:
            Denied: The project's code says no, and how.
            Unauthenticated: An assertion of it failed, or it does not know the user.
            Unavailable: It has not answered in time.
            BadUser: What it returned is no user.
        """
        given = {name: _given(name, sent) for name in self._asked}
        try:
            said = self._run(self._authenticate, given)
        except AssertionError as exc:
            raise Unauthenticated("This request says not, or not well, who sends it.") from exc
        user = _user(said)
        if not user.is_authenticated:
            raise Unauthenticated("This user is not authenticated.")
        return user

    def ask(self, user: User, resource: str, action: str, value: dict[str, Any]) -> Filters:
        """Ask what a user may see of what a request is about.

        Args:
            user: The user.
            resource: What it is about: `threads`, `assistants`, `crons` or `store`.
            action: What is to be done with it.
            value: What the request asks for; the project's code may change it.

        Returns:
            What of it may be seen; everything when nothing else is said.

        Raises:
            Forbidden: The project's code says no.
            Denied: It says so in its own way.
            Unavailable: It has not answered in time.
            BadAnswer: What it returned is neither yes, no nor a filter.
        """
        handler = self._handler(resource, action)
        if handler is None:
            return Filters()
        ctx = self._context(
            permissions=user.permissions,
            user=user,
            resource=resource,  # type: ignore[arg-type]
            action=action,  # type: ignore[arg-type]
        )
        try:
            said = self._run(handler, {"ctx": ctx, "value": value})
        except AssertionError as exc:
            raise _forbidden(resource, action) from exc
        if said is None or said is True:
            return Filters()
        if said is False:
            raise _forbidden(resource, action)
        try:
            return Filters.read(plain(said))
        except (ValueError, AttributeError, TypeError) as exc:
            raise BadAnswer(f"The handler of {resource}.{action} returned no filter: {exc}") from exc

    def has_handler(self, resource: str) -> bool:
        """Tell whether the project says something about a resource by name."""
        return any(name == resource for name, _ in self._handlers)

    def _handler(self, resource: str, action: str) -> Callable[..., Any] | None:
        """Find the handler that says most exactly what it is about."""
        for place in ((resource, action), (resource, "*"), ("*", action)):
            if place in self._handlers:
                return self._handlers[place]
        return self._general

    def _run(self, function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
        try:
            said = function(**given)
            return self._loop.wait(said) if inspect.isawaitable(said) else said
        except (AssertionError, CrewlineError):
            raise
        except Exception as exc:
            if (denied := _denied(exc)) is None:
                raise
            raise denied from exc


class BadAnswer(Exception):
    """The project's code returned what nobody can use; the sentence is for its log, and for no client."""


class BadUser(BadAnswer):
    """What authenticated a request returned no user."""


def load_authority(entry: AuthEntry, manifest: Manifest) -> Authority:
    """Import a project's own authentication.

    Raises:
        BadManifest: The file has nothing of this name, or what it has cannot authenticate.
        CrewFailedToLoad: The file raised while it was imported.
    """
    where = f"auth.path ({entry.path})"
    return Authority(load(entry, manifest, where=where), where=where)


def plain(value: Any) -> Any:
    """Give a value of the project's code as JSON has it: tuples as lists, ids and times as texts.

    Raises:
        TypeError: JSON has no word for it.
    """
    return orjson.loads(orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS))


@functools.cache
def _loop() -> _Loop:
    """Give the loop of this process: a client that a project keeps is bound to one, whichever function asks."""
    return _Loop()


class _Loop:
    """An event loop in a thread of its own, begun when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def wait(self, work: Awaitable[T]) -> T:
        """Run something on the loop and give what it gives.

        Raises:
            Unavailable: It takes too long; it is cancelled.
        """
        doing = asyncio.run_coroutine_threadsafe(_awaited(work), self._begun())
        try:
            return doing.result(LONGEST_S)
        except Late as exc:
            if doing.done():  # its own: the project's code has waited for something in vain
                raise
            doing.cancel()
            raise Unavailable(
                f"The project's authentication has not answered for {LONGEST_S:.0f} seconds; try again in a moment."
            ) from exc

    def _begun(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="authentication", daemon=True).start()
            return self._loop


async def _awaited(work: Awaitable[T]) -> T:
    try:
        return await work
    except SystemExit as exc:  # it would end the loop, and whatever is asked after this
        raise RuntimeError("The project's authentication has called sys.exit.") from exc


def _asked(authenticate: Callable[..., Any], where: str) -> frozenset[str]:
    """Tell what an authenticate function asks for by name.

    Raises:
        BadManifest: It asks for something that there is not.
    """
    named = [
        one
        for one in inspect.signature(authenticate).parameters.values()
        if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
    ]
    unknown = [one.name for one in named if one.name not in _PARAMETERS and one.default is one.empty]
    if unknown:
        raise BadManifest(
            f"{where}: authenticate asks for {', '.join(unknown)}; there are {', '.join(sorted(_PARAMETERS))}."
        )
    asked = frozenset(one.name for one in named if one.name in _PARAMETERS)
    if "request" in asked:
        try:
            import starlette.requests  # noqa: F401, PLC0415
        except ImportError as exc:
            raise BadManifest(
                f"{where}: authenticate asks for request, which is Starlette's, and starlette is not installed; add it to "
                "the dependencies, or ask for headers, path, method or body."
            ) from exc
    return asked


def _given(name: str, sent: Credentials) -> Any:
    match name:
        case "authorization":
            return sent.headers.get("authorization")
        case "headers":
            return dict(_raw(sent.headers))
        case "request":
            return _request(sent)
        case "path_params" | "query_params":
            return dict(getattr(sent, name))
        case _:
            return getattr(sent, name)


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Give headers as bytes; what is no text at all cannot be right, and must not fail here."""
    return [
        (name.encode(errors="replace"), value.encode(errors="replace")) for name, value in headers.items()
    ]


def _request(sent: Credentials) -> Any:
    from urllib.parse import urlencode  # noqa: PLC0415

    from starlette.requests import Request  # noqa: PLC0415

    content = b"" if sent.body is None else orjson.dumps(sent.body)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    scope = {
        "type": "http",
        "http_version": "1.1",
        "scheme": sent.headers.get("x-forwarded-proto", "https"),
        "method": sent.method,
        "path": sent.path,
        "raw_path": sent.path.encode(),
        "query_string": urlencode(dict(sent.query_params)).encode(),
        "path_params": dict(sent.path_params),
        "headers": _raw(sent.headers),
    }
    return Request(scope, receive)


def _user(said: Any) -> User:
    """Read what an authenticate function returned: an id, a mapping, or an object with these attributes.

    Raises:
        BadUser: It is none of them, has no identity, is too large, or JSON has no word for something in it.
    """
    fields: Mapping[str, Any]
    if isinstance(said, str):
        fields = {"identity": said}
    elif isinstance(said, Mapping):
        fields = said
    else:
        dump = (
            getattr(said, "model_dump", None) or getattr(said, "to_dict", None) or getattr(said, "dict", None)
        )
        known = {name: getattr(said, name) for name in _USER_FIELDS if hasattr(said, name)}
        fields = {**(dump() if callable(dump) else {}), **known}
    try:
        fields = plain(dict(fields))
    except TypeError as exc:
        raise BadUser(f"authenticate returned a user with something that JSON cannot hold: {exc}") from exc
    identity = fields.get("identity")
    if not isinstance(identity, str) or not identity:
        raise BadUser(f"authenticate returned a {type(said).__name__} without an identity, as text")
    if not isinstance(fields.get("permissions") or [], list):
        raise BadUser("authenticate returned permissions that are no list")
    if (size := len(orjson.dumps(fields))) > LARGEST_USER:
        raise BadUser(
            f"authenticate returned a user of {size:,} bytes as JSON; at most {LARGEST_USER:,} are kept"
        )
    return User(fields)


def _plain(value: Any) -> Any:
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__}")


def _denied(exc: Exception) -> Denied | None:
    """Read the exception by which a project's code answers: that of the SDK, or one of its shape."""
    status = getattr(exc, "status_code", None)
    if type(exc).__name__ != "HTTPException" or not isinstance(status, int) or not 300 <= status <= 599:  # noqa: PLR2004
        return None
    detail = getattr(exc, "detail", None)
    headers = getattr(exc, "headers", None) or {}
    return Denied(status, str(detail or ""), {str(name): str(text) for name, text in headers.items()})


def _forbidden(resource: str, action: str) -> Forbidden:
    return Forbidden(f"You may not do {action} of {resource}; the project's authentication decides.")
