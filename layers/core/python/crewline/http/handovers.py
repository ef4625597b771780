"""Requests that arrive at one function and that another one has to answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aws_lambda_powertools.event_handler.api_gateway import Response

from crewline.store.functions import Functions

LARGEST_ANSWER: Final = 6_000_000
"""Bytes of an answer that one function gives another: what Lambda takes, less the headers."""


@dataclass(frozen=True, slots=True)
class HandOver:
    """Hands requests over to one other function.

    Args:
        functions: What reaches it.
        name: Its name.
    """

    functions: Functions
    name: str

    def answer(self, sent: Mapping[str, Any]) -> Response[Any]:
        """Pass a request on, and the answer back as it is.

        Args:
            sent: The event of the request, as it came: the other function looks itself at who sends it.

        Raises:
            Unavailable: The other function did not answer.
        """
        answered = self.functions.ask(self.name, sent)
        headers = {
            name: value for name, value in answered.headers.items() if name.lower() != "content-length"
        }
        return Response(answered.status, None, answered.body, headers)
