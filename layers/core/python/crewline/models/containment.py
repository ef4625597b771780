"""Whether one JSON value contains another: what searches, filters of users and lists of crons go by."""

from __future__ import annotations

from typing import Any


def contains(value: Any, wanted: Any) -> bool:
    """Tell whether a JSON value contains another, as `@>` of PostgreSQL's jsonb does.

    An object contains one with some of its members, an array one whose every element is contained in
    an element of its own, in any order; 1 and 1.0 are the same number, and true is none.
    """
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(
            name in value and contains(value[name], part) for name, part in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(contains(one, part) for one in value) for part in wanted)
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return not isinstance(value, dict | list) and bool(value == wanted)
