"""Users: whom a project's own authentication takes the sender of a request for, and what it lets them see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, Self

from crewline.models.containment import contains

USER: Final = "langgraph_auth_user"
USER_ID: Final = "langgraph_auth_user_id"
PERMISSIONS: Final = "langgraph_auth_permissions"
RESERVED: Final = frozenset((USER, USER_ID, PERMISSIONS))
"""Names in a run's `configurable` under which its graph finds the user: nobody else sets them, and nothing shows them."""

_OPERATORS: Final = ("$eq", "$contains")


class User(Mapping[str, Any]):
    """A user as handlers and graphs have it: what authentication gave, as a mapping and as attributes.

    Args:
        fields: JSON values; `identity` is among them.
    """

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = dict(fields)

    @property
    def identity(self) -> str:
        """What tells the user from others."""
        identity: str = self._fields["identity"]
        return identity

    @property
    def display_name(self) -> str:
        """What people call the user."""
        name: str = self._fields.get("display_name") or self.identity
        return name

    @property
    def is_authenticated(self) -> bool:
        """Whether authentication knows the user, as it does when it says nothing of it."""
        return bool(self._fields.get("is_authenticated", True))

    @property
    def permissions(self) -> list[str]:
        """What the user may do, in the project's own words."""
        return list(self._fields.get("permissions") or ())

    def __getitem__(self, name: str) -> Any:
        """Give what authentication gave under a name."""
        return self._fields[name] if name in self._fields or name not in _DERIVED else getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        """Go through the names of what authentication gave."""
        return iter(self._fields)

    def __len__(self) -> int:
        """Count them."""
        return len(self._fields)

    def __getattr__(self, name: str) -> Any:
        """Give what authentication gave, as an attribute."""
        if name.startswith("_") or name not in self._fields:
            raise AttributeError(name)
        return self._fields[name]

    def __repr__(self) -> str:
        """Name the user, and tell nothing of what else there is: it may be a secret."""
        return f"User({self.identity!r})"


_DERIVED: Final = frozenset(("display_name", "is_authenticated", "permissions"))


@dataclass(frozen=True, slots=True)
class Filters:
    """What a handler lets a user see: what has all of these values in its metadata; everything when there are none.

    Args:
        wanted: Name → the value, or a list of what the list under that name has to contain.
    """

    wanted: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Self:
        """Read what a handler returned.

        Args:
            said: Name → a value, `{"$eq": value}`, `{"$contains": value}` or `{"$contains": [value, …]}`.

        Raises:
            ValueError: It says something else.
        """
        return cls({name: _operand(name, value) for name, value in said.items()})

    def __bool__(self) -> bool:
        """Tell whether there is anything that is not to be seen."""
        return bool(self.wanted)

    def match(self, metadata: Mapping[str, Any]) -> bool:
        """Tell whether something with this metadata may be seen."""
        return contains(dict(metadata), dict(self.wanted))

    def narrow(self, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
        """Narrow a search to what may be seen.

        Args:
            metadata: What the search asks for.

        Returns:
            What it is to ask for instead; None when nothing that may be seen can have that.
        """
        narrowed = dict(metadata)
        for name, value in self.wanted.items():
            asked = metadata.get(name, value)
            if isinstance(asked, list) and isinstance(value, list):
                narrowed[name] = [*asked, *(one for one in value if one not in asked)]
            elif contains(asked, value):
                narrowed[name] = value
            else:
                return None
        return narrowed

    def fill(self, metadata: Mapping[str, Any]) -> dict[str, Any] | None:
        """Make what a user makes such that the user may see it.

        Args:
            metadata: What it is to have.

        Returns:
            The same, with what was missing; None when it has another value there.
        """
        filled = {**self.wanted, **metadata}
        return filled if self.match(filled) else None

    def keeps(self, changes: Mapping[str, Any]) -> bool:
        """Tell whether changes of metadata leave in sight what is in sight by single values."""
        return all(
            contains(changes[name], value)
            for name, value in self.wanted.items()
            if name in changes and not isinstance(value, list)
        )


def _operand(name: str, said: Any) -> Any:
    operator, value = "$eq", said
    if isinstance(said, Mapping):
        if len(said) != 1 or not said.keys() <= set(_OPERATORS):
            raise ValueError(f"{name}: it takes a value, or one of {' and '.join(_OPERATORS)}")
        ((operator, value),) = said.items()
    several = operator == "$contains" and isinstance(value, list)
    if any(isinstance(one, list | Mapping) for one in (value if several else [value])):
        raise ValueError(f"{name}: {operator} compares texts, numbers, true, false and null")
    return value if several or operator == "$eq" else [value]


EVERYTHING: Final = Filters()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Who sends a request, as far as it goes on with what the request makes, lists or is about."""

    user: User | None = None
    """None where no user is known: callers with keys, and whatever is no request."""
    stamps: Mapping[str, Any] = field(default_factory=dict)
    """What a handler put into the metadata of what is made."""
    sees: Filters = EVERYTHING
    """What of all there is may be shown, used or changed."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """What a handler has changed of what a run is asked for, where the route has no words of its own for it."""

    def kept(self) -> dict[str, Any] | None:
        """Spell what has to be kept for what starts later; None when there is nothing to be known."""
        said = {
            "user": dict(self.user) if self.user else None,
            "stamps": dict(self.stamps),
            "sees": dict(self.sees.wanted),
        }
        return {name: value for name, value in said.items() if value} or None

    @classmethod
    def of(cls, kept: Mapping[str, Any] | None) -> Self:
        """Read what was kept."""
        if not kept:
            return cls()
        user = kept.get("user")
        return cls(
            user=User(user) if user else None,
            stamps=kept.get("stamps", {}),
            sees=Filters(kept.get("sees", {})),
        )


class Rights(Protocol):
    """What a user may, asked for by a route that finds out only in the middle of its work what a request is about."""

    def find_assistants(self) -> Filters:
        """Tell which assistants the user may find."""

    def use_assistant(self, assistant_id: str) -> None:
        """Let the user pass who may use an assistant."""

    def start(self, asked: Mapping[str, Any], *, assistant_id: str, thread_id: str | None) -> Sender:
        """Let the user pass who may start a run, and give what goes on with it."""

    def reach(self, action: Literal["read", "update"], thread_id: str, run_id: str) -> bool:
        """Tell whether the user may see, or change, a run."""


NOBODY: Final = Sender()
"""The sender where nothing is to be known of one."""
