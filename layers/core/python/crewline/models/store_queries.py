"""What is wanted of the store: items by their values and by their nearness, namespaces by their ends."""

from __future__ import annotations

import operator
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any, Final, Literal

from crewline.errors import InvalidRequest

try:
    from math import sumprod  # type: ignore[attr-defined,unused-ignore]  # since Python 3.12
except ImportError:

    def sumprod(left: Iterable[float], right: Iterable[float], /) -> float:
        """Multiply two vectors."""
        products: Iterator[float] = map(operator.mul, left, right)
        return sum(products)


Namespace = tuple[str, ...]
"""Labels from the outermost to the innermost."""
Score = float | None
"""How near an item is to a query, from -1 to 1; None without one, or for an item without vectors."""

ANYTHING: Final = "*"
"""What stands for any label where namespaces are listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemQuery:
    """Which items are wanted."""

    prefix: Namespace
    filter: Mapping[str, Any] | None = None
    limit: int = 10
    offset: int = 0
    near: Sequence[float] | None = None
    """Those that are nearest to this vector first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceQuery:
    """Which namespaces are wanted."""

    conditions: tuple[tuple[Literal["prefix", "suffix"], Namespace], ...] = ()
    """What they all begin or end with; `*` is any label."""
    max_depth: int | None = None
    """Deeper ones are cut off there, and told once."""
    limit: int = 100
    offset: int = 0

    def matches(self, namespace: Namespace) -> bool:
        """Tell whether a namespace fulfils all conditions."""
        return all(_fits(namespace, kind, path) for kind, path in self.conditions)

    @property
    def prefix(self) -> Namespace:
        """What every namespace that matches begins with."""
        found: Namespace = ()
        for kind, path in self.conditions:
            if kind == "prefix":
                known = path[: path.index(ANYTHING)] if ANYTHING in path else path
                found = max(found, known, key=len)
        return found


def _fits(namespace: Namespace, kind: Literal["prefix", "suffix"], path: Namespace) -> bool:
    if len(namespace) < len(path):
        return False
    part = namespace[: len(path)] if kind == "prefix" else namespace[len(namespace) - len(path) :]
    return all(wanted in (ANYTHING, label) for label, wanted in zip(part, path, strict=True))


# ------------------------------------------------------------------ values


_COMPARED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "$gt": operator.gt,
    "$gte": operator.ge,
    "$lt": operator.lt,
    "$lte": operator.le,
}
_OPERATORS: Final = ("$eq", "$ne", *_COMPARED)


def check_filter(filter_: Mapping[str, Any]) -> None:
    """Check the operators of a filter.

    Raises:
        InvalidRequest: There is no such operator, or operators stand beside names.
    """
    for wanted in filter_.values():
        _check_wanted(wanted)


def _check_wanted(wanted: Any) -> None:
    if isinstance(wanted, Mapping):
        if _operates(wanted):
            if unknown := [name for name in wanted if name not in _OPERATORS]:
                raise InvalidRequest(f"filter: {str(unknown[0])[:60]!r} is none of {', '.join(_OPERATORS)}.")
        else:
            check_filter(wanted)
    elif isinstance(wanted, list | tuple):
        for part in wanted:
            _check_wanted(part)


def _operates(wanted: Mapping[str, Any]) -> bool:
    return any(str(name).startswith("$") for name in wanted)


def matches(value: Mapping[str, Any], filter_: Mapping[str, Any]) -> bool:
    """Tell whether a value has what a filter wants, as LangGraph's `InMemoryStore` does.

    Objects have to have the members that are wanted, arrays to be equal element by element. `$gt` and its like
    compare numbers, or two texts; what cannot be compared does not match.
    """
    return all(_has(value.get(name), wanted) for name, wanted in filter_.items())


def _has(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        if _operates(wanted):
            return all(_compares(value, name, bound) for name, bound in wanted.items())
        return isinstance(value, Mapping) and matches(value, wanted)
    if isinstance(wanted, list | tuple):
        return (
            isinstance(value, list)
            and len(value) == len(wanted)
            and all(_has(part, other) for part, other in zip(value, wanted, strict=True))
        )
    return bool(value == wanted)


def _compares(value: Any, name: str, bound: Any) -> bool:
    if name in ("$eq", "$ne"):
        return bool(value == bound) is (name == "$eq")
    compare = _COMPARED[name]
    left, right = _number(value), _number(bound)
    if left is not None and right is not None:
        return compare(left, right)
    return isinstance(value, str) and isinstance(bound, str) and compare(value, bound)


def _number(value: Any) -> float | None:
    """Read a number, or a text that is one."""
    if not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


# ------------------------------------------------------------------ vectors


def pack(vectors: Iterable[Sequence[float]]) -> bytes:
    """Spell vectors as they are stored: numbers of 32 bits, one vector behind the other.

    Raises:
        ValueError: A number is none that 32 bits hold.
    """
    packed = array("f")
    for vector in vectors:
        packed.extend(vector)
    if not all(map(isfinite, packed)):
        raise ValueError("a vector has a number that is none, or that 32 bits do not hold")
    return packed.tobytes()


class Nearness:
    """Tells how near vectors are to one, exactly: the cosine of the angle between them.

    Args:
        vector: What is searched for.
    """

    def __init__(self, vector: Sequence[float]) -> None:
        self._vector = [float(number) for number in vector]
        self._length = sqrt(sumprod(self._vector, self._vector))
        self._bytes = 4 * len(self._vector)

    def best(self, vectors: bytes, dims: int) -> Score:
        """Tell how near the nearest of an item's vectors is.

        Args:
            vectors: As they are stored.
            dims: Numbers of each. Those of another embedding have another one, and are not compared.

        Returns:
            The cosine, 0 where a vector has no length; None when there is nothing to compare.
        """
        if not vectors or dims != len(self._vector):
            return None
        return max(self._cosine(vectors[at : at + self._bytes]) for at in range(0, len(vectors), self._bytes))

    def _cosine(self, packed: bytes) -> float:
        vector = array("f", packed).tolist()
        lengths = sqrt(sumprod(vector, vector)) * self._length
        return float(sumprod(vector, self._vector) / lengths) if lengths else 0.0
