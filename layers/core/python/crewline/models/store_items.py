"""Items of the store: memory that runs share, by namespace and key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from typing_extensions import TypedDict

from crewline.errors import InvalidRequest
from crewline.models.store_queries import ItemQuery, Namespace, NamespaceQuery, Score
from crewline.models.threads import LONGEST_TTL, WHOLE, OrDefault, Wire

RESERVED: Final = "langgraph"
"""The first label that nobody may write under, as LangGraph has it."""
JOINED: Final = r"^([^.\x00]+(\.[^.\x00]+)*)?$"
"""What a namespace looks like in a query: its labels joined by periods."""
MOST_ITEMS: Final = 1_000
"""Items or namespaces of one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreItem:
    """An item as it is shown."""

    namespace: Namespace
    key: str
    value: dict[str, Any]
    created_at: str
    updated_at: str
    score: Score = None

    def wire(self) -> ItemWire:
        """Spell it as `GET /store/items` answers it."""
        return {
            "namespace": list(self.namespace),
            "key": self.key,
            "value": self.value,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }

    def wire_found(self) -> FoundItemWire:
        """Spell it as a search answers it."""
        return {**self.wire(), "score": self.score}


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemWrite:
    """An item as it is put."""

    namespace: Namespace
    key: str
    value: Mapping[str, Any]
    ttl: float | None = None
    """Minutes that it lives unused; None: for ever."""
    vectors: bytes = b""
    """What it is found by, packed one behind the other."""
    dims: int = 0
    """Numbers of each vector."""


# ------------------------------------------------------------------ what may be put and asked for


def check_labels(namespace: Iterable[Any]) -> None:
    """Check labels as LangGraph does.

    Raises:
        ValueError: One is no text, is empty, or has a period or a NUL.
    """
    for label in namespace:
        if not isinstance(label, str) or not label:
            raise ValueError(f"a label of a namespace is a text that is not empty, not {label!r}")
        if "." in label or "\0" in label:
            raise ValueError(f"the label {label[:60]!r} of a namespace has a period or a NUL")


def check_written(namespace: Sequence[str]) -> None:
    """Check a namespace that something is put under.

    Raises:
        ValueError: It is empty, begins with the label that is LangGraph's own, or a label is none.
    """
    check_labels(namespace)
    if not namespace:
        raise ValueError("a namespace has a label at least")
    if namespace[0] == RESERVED:
        raise ValueError(f"the first label of a namespace cannot be {RESERVED!r}")


def split_namespace(text: str) -> Namespace:
    """Read a namespace as a query has it: labels joined by periods.

    Raises:
        InvalidRequest: A label is empty, or has a NUL.
    """
    if not re.fullmatch(JOINED, text):
        raise InvalidRequest("namespace: labels that are not empty, joined by periods.")
    return tuple(text.split(".")) if text else ()


# ------------------------------------------------------------------ on the wire


def _written(namespace: list[str]) -> list[str]:
    check_written(namespace)
    return namespace


def _labels(namespace: list[str]) -> list[str]:
    check_labels(namespace)
    return namespace


def _false(value: Any) -> Any:
    if value is not False:  # 0 is equal to it
        raise ValueError("it is false or a list of paths")
    return value


Label = Annotated[str, Field(json_schema_extra={"minLength": 1, "pattern": "^[^.\\x00]+$"})]
Labels = Annotated[list[Label], AfterValidator(_labels)]
Minutes = Annotated[float, Field(gt=0, le=LONGEST_TTL)]
IndexedBy = Annotated[Literal[False], BeforeValidator(_false)] | list[str]


class ItemPut(Wire):
    """Body of `PUT /store/items`."""

    namespace: Annotated[list[Label], Field(min_length=1), AfterValidator(_written)]
    """Where the item is, from the outermost label to the innermost."""
    key: str
    """Its name there."""
    value: dict[str, Any]
    """What is remembered."""
    index: IndexedBy | None = None
    """By which of its fields it is found; as the manifest says when absent, by none of them when false."""
    ttl: Minutes | None = None
    """Minutes that it lives unused; as the manifest says when absent, for ever when null."""


class ItemDelete(Wire):
    """Body of `DELETE /store/items`."""

    namespace: OrDefault[Labels] = Field(default_factory=list)
    key: str


class ItemSearch(Wire):
    """Body of `POST /store/items/search`."""

    namespace_prefix: OrDefault[Labels] = Field(default_factory=list)
    """What the namespaces of all items begin with."""
    filter: dict[str, Any] | None = None
    """What their values have: a value, or `$eq`, `$ne`, `$gt`, `$gte`, `$lt` and `$lte` with one."""
    limit: OrDefault[Annotated[int, Field(ge=1, le=MOST_ITEMS), WHOLE]] = 10
    """How many items a page has."""
    offset: OrDefault[Annotated[int, Field(ge=0), WHOLE]] = 0
    """How many come before the page."""
    query: str | None = None
    """A text: the items that are nearest to it come first, where the manifest says how texts are embedded."""
    refresh_ttl: bool | None = None
    """Whether what is found lives on from now; as the manifest says when absent."""

    def wanted(self) -> ItemQuery:
        """Say which items are wanted."""
        return ItemQuery(
            prefix=tuple(self.namespace_prefix), filter=self.filter, limit=self.limit, offset=self.offset
        )


class NamespaceSearch(Wire):
    """Body of `POST /store/namespaces`."""

    prefix: Labels | None = None
    """What they begin with; `*` is any label."""
    suffix: Labels | None = None
    """What they end with; `*` is any label."""
    max_depth: Annotated[int, Field(ge=1), WHOLE] | None = None
    """Deeper ones are cut off there, and told once."""
    limit: OrDefault[Annotated[int, Field(ge=1, le=MOST_ITEMS), WHOLE]] = 100
    """How many namespaces a page has."""
    offset: OrDefault[Annotated[int, Field(ge=0), WHOLE]] = 0
    """How many come before the page."""

    def wanted(self) -> NamespaceQuery:
        """Say which namespaces are wanted."""
        conditions: list[tuple[Literal["prefix", "suffix"], Namespace]] = []
        if self.prefix:
            conditions.append(("prefix", tuple(self.prefix)))
        if self.suffix:
            conditions.append(("suffix", tuple(self.suffix)))
        return NamespaceQuery(
            conditions=tuple(conditions), max_depth=self.max_depth, limit=self.limit, offset=self.offset
        )


class ItemWire(TypedDict):
    """An item of the store."""

    namespace: list[str]
    key: str
    value: dict[str, Any]
    created_at: str
    updated_at: str


class FoundItemWire(ItemWire):
    """An item as a search answers it."""

    score: float | None


class FoundItems(TypedDict):
    """A page of items."""

    items: list[FoundItemWire]


class FoundNamespaces(TypedDict):
    """A page of namespaces."""

    namespaces: list[list[str]]
