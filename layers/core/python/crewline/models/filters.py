"""Filters: what a search asks of the metadata of a row."""

from __future__ import annotations

from typing import Any


def contains(whole: Any, part: Any) -> bool:
    """Tell whether a JSON value contains another, as PostgreSQL's `@>` does.

    An object contains one whose every key it has with a value that contains the other's; a list
    contains one whose every element some element of it contains; anything else contains its equal.
    """
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            name in whole and contains(whole[name], value) for name, value in part.items()
        )
    if isinstance(part, list):
        return isinstance(whole, list) and all(any(contains(one, value) for one in whole) for value in part)
    if isinstance(whole, bool) != isinstance(part, bool):  # to Python, True is 1
        return False
    return bool(whole == part)
