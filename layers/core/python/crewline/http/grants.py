"""What a rule works with: a user's request, whom to ask about it, and what is granted of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from crewline.errors import Forbidden, InvalidRequest, NotFound
from crewline.http.authorities import Authority, plain
from crewline.models.clocks import is_id
from crewline.models.users import NOBODY, Filters, Rights, Sender, User
from crewline.services.assistants import Assistants, no_assistant
from crewline.services.runs import Runs
from crewline.services.threads import Threads


class Noted(dict[str, Any]):
    """Metadata that notes which names a handler has set, whatever they were before."""

    def __init__(self, sent: Mapping[str, Any]) -> None:
        super().__init__(sent)
        self.names: set[str] = set()

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a value, and note it."""
        self.names.add(name)
        super().__setitem__(name, value)

    def __ior__(self, other: Any) -> Self:  # type: ignore[misc,override]
        """Set values, and note them."""
        self.update(other)
        return self

    def update(self, *args: Any, **values: Any) -> None:
        """Set values, and note them."""
        for name, value in dict(*args, **values).items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Set a value that is missing, and note it."""
        if name not in self:
            self[name] = default
        return self[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a user's request becomes."""

    body: Any
    senders: tuple[Sender, ...] = (NOBODY,)
    """What goes on with each thing that it asks for; the user is put there by the gate."""
    visible: bool = True
    """Whether the user may see what it is about."""
    query: Mapping[str, list[str]] | None = None
    """Its query, where that is another now."""
    rights: Rights | None = None
    """Whom its route is to ask further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A user's request that asks for something."""

    user: User
    authority: Authority
    tenant: str
    threads: Threads
    runs: Runs
    assistants: Assistants
    path: Mapping[str, str]
    """What its path has in the places of its route."""
    query: Mapping[str, list[str]]
    body: Any

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of its body, none when there is no body."""
        return dict(self.body or {})

    def flag(self, name: str) -> bool:
        """Tell whether its query may say yes to something: whatever is no plain no."""
        return any(
            text.lower() not in ("false", "0", "no", "off", "n", "f", "") for text in self.query.get(name, ())
        )

    def one(self, name: str) -> str | None:
        """Give a value of its query.

        Raises:
            InvalidRequest: There are several: which of them the route takes, the handler was to be told.
        """
        found = self.query.get(name, [])
        if len(found) > 1:
            raise InvalidRequest(f"Invalid request: query.{name}: comes {len(found)} times; send it once.")
        return found[0] if found else None

    def ask(self, resource: str, action: str, value: dict[str, Any]) -> Filters:
        """Ask the project's handler; it may change the value.

        Raises:
            Forbidden: It says no.
            Denied: It says so in its own way.
            Unavailable: It has not answered in time.
        """
        return self.authority.ask(self.user, resource, action, value)

    # ------------------------------------------------------------------ what may be seen

    def sees_thread(self, sees: Filters, thread_id: str, run_ids: Iterable[str] = ()) -> bool:
        """Tell whether a thread may be seen; or if there is none any more, runs that were on it.

        Raises:
            InvalidRequest: An id is no UUID.
            Unavailable: DynamoDB did not answer.
        """
        if not sees:
            return True
        with suppress(NotFound):
            return sees.match(self.threads.row(self.tenant, thread_id).metadata)
        for run_id in run_ids:
            with suppress(NotFound):
                if not sees.match(self.runs.get(self.tenant, thread_id, run_id, whole=False).metadata):
                    return False
        return True

    def check_assistant(self, named: str) -> str:
        """Let only a user pass who may read an assistant; the crews' own are for whoever may start runs.

        Args:
            named: Its id, or the name of its crew.

        Returns:
            Its id.

        Raises:
            InvalidRequest: It is neither a UUID nor a crew of this deployment.
            Forbidden: The project's handler says no.
            NotFound: The user may not see it.
            Unavailable: DynamoDB did not answer.
        """
        assistant_id = self.assistants.identify(named)
        if self.assistants.default(assistant_id) is None:
            sees = self.ask("assistants", "read", {"assistant_id": uuid_of(assistant_id), "metadata": {}})
            self.check_seen(sees, assistant_id)
        return assistant_id

    def check_seen(self, sees: Filters, assistant_id: str) -> None:
        """Let only a user pass who may see an assistant; one that is not there is left to the route.

        Raises:
            NotFound: The user may not see it.
            Unavailable: DynamoDB did not answer.
        """
        found = None
        if sees:
            with suppress(NotFound):
                found = self.assistants.get(self.tenant, assistant_id)
        if found and not sees.match(found.metadata):
            raise no_assistant(assistant_id)


Rule = Callable[[Asked], Granted]
"""Asks what a user may of a request to a route."""


def metadata_of(fields: Mapping[str, Any]) -> Noted:
    """Read the metadata of a body, for a handler to change.

    Raises:
        InvalidRequest: It is no object.
    """
    metadata = fields.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise InvalidRequest("Invalid request: metadata: input should be an object.")
    return Noted(metadata or {})


def some(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Choose what a handler is told of a body."""
    return {name: fields[name] for name in names if fields.get(name) is not None}


def put_back(fields: Mapping[str, Any], value: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Give a body with what a handler has made of some of its fields; what it was told and has taken out is gone."""
    told = {name: plain(value[name]) for name in names if name in value}
    left = {name: one for name, one in fields.items() if one is None or name not in names or name in value}
    return {**left, **{name: one for name, one in told.items() if one or name in fields}}


def set_by_handler(value: Mapping[str, Any]) -> dict[str, Any]:
    """Tell which metadata a handler has set."""
    metadata = value.get("metadata") or {}
    names = metadata.names & metadata.keys() if isinstance(metadata, Noted) else metadata.keys()
    return dict(plain({name: metadata[name] for name in names}))


def filled(sees: Filters, value: Mapping[str, Any]) -> dict[str, Any]:
    """Make the metadata of something new such that its maker may see it.

    Raises:
        Forbidden: It has another value where the user has to have one.
    """
    made = sees.fill(plain(value.get("metadata") or {}))
    if made is None:
        raise Forbidden(
            f"What you make has to have {_named(sees)} in its metadata, as the project's authentication says."
        )
    return made


def kept(sees: Filters, value: Mapping[str, Any]) -> None:
    """Let changes of metadata pass that leave a thing in its user's sight.

    Raises:
        Forbidden: They would not.
    """
    if not sees.keeps(plain(value.get("metadata") or {})):
        raise Forbidden(
            f"You cannot change {_named(sees)} of its metadata: the project's authentication goes by it."
        )


def uuid_of(text: Any) -> Any:
    """Give an id as handlers have it; what is none as it is."""
    return UUID(text) if isinstance(text, str) and is_id(text) else text


def _named(sees: Filters) -> str:
    return ", ".join(sees.wanted)
