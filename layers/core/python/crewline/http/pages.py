"""Pages of a list: where the caller is in it, and whether there is more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aws_lambda_powertools.event_handler.api_gateway import Response

from crewline.http.apps import json_response


def page_response(
    rows: Sequence[Mapping[str, Any]], *, offset: int, more: bool, select: Sequence[str] | None = None
) -> Response[Any]:
    """Answer with a page and the headers by which the SDKs find the next one.

    Args:
        rows: The rows of the page.
        offset: How many rows are before it.
        more: Whether there are rows behind it.
        select: The fields to answer with; all of them when there are none.
    """
    end = offset + len(rows)
    headers = {"x-pagination-total": str(end + more)}
    if more:
        headers["x-pagination-next"] = str(end)
    return json_response([select_fields(row, select) for row in rows], headers=headers)


def select_fields(row: Mapping[str, Any], select: Sequence[str] | None) -> dict[str, Any]:
    """Choose some fields of a row, or all when nothing is selected."""
    return {name: value for name, value in row.items() if not select or name in select}
