"""Request bodies: JSON, read strictly and within limits, before any route sees them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from crewline.errors import InvalidRequest, TooLarge
from crewline.models.bodies import read_json

_TAKES_A_LIST: Final = "/runs/batch"
"""The path whose body is a list; elsewhere Powertools would take the first element of one for the body."""


def read_body(event: Mapping[str, Any], *, most: int) -> Any:
    """Read the JSON body of a request.

    Args:
        event: An API Gateway REST proxy event.
        most: Bytes that a body may have.

    Returns:
        An object, or the list of a batch; None when there is no body.

    Raises:
        TooLarge: The body has more bytes.
        InvalidRequest: It is not UTF-8, is not JSON, is no object where one is due, is nested too deeply, or has a
            number that nothing can store.
    """
    content = _bytes(event)
    if not content:
        return None
    if len(content) > most:
        raise TooLarge(
            f"The body has {len(content):,} bytes; at most {most:,} are taken. "
            "Store large inputs elsewhere and send a reference."
        )
    value = read_json(content)
    if not isinstance(value, dict) and not (isinstance(value, list) and event.get("path") == _TAKES_A_LIST):
        raise InvalidRequest(f"The body must be a JSON object, not a {type(value).__name__}.")
    return value


def _bytes(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        try:
            return str(body).encode()
        except UnicodeEncodeError as exc:
            raise InvalidRequest("The body is not valid UTF-8.") from exc
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise InvalidRequest("The body says that it is base64, but it is not.") from exc
