"""Requests that arrive at one function and that another one has to answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aws_lambda_powertools.event_handler.api_gateway import Response

from crewline.store.functions import Functions


@dataclass(frozen=True, slots=True)
class HandOver:
    """Hands requests over to one other function.

    Args:
        functions: What reaches it.
        name: Its name.
    """

    functions: Functions
    name: str

    def answer(self, event: Mapping[str, Any], body: Any) -> Response[Any]:
        """Pass a request on, and the answer back as it is.

        Args:
            event: The request that this function was asked with.
            body: Its body, as it was read.

        Raises:
            Unavailable: The other function did not answer.
        """
        sent = {**event, "body": orjson.dumps(body).decode(), "isBase64Encoded": False}
        answered = self.functions.ask(self.name, sent)
        headers = {
            name: value for name, value in answered.headers.items() if name.lower() != "content-length"
        }
        return Response(answered.status, None, answered.body, headers)
