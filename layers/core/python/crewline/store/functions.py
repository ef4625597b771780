"""Functions of the same deployment, asked as API Gateway asks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
from botocore.exceptions import BotoCoreError, ClientError

from crewline.errors import Unavailable

SEPARATOR: Final = bytes(8)
"""Between the prelude of a streamed answer and its body."""


class Client(Protocol):
    """The client of Lambda as it is used here."""

    def invoke(self, **arguments: Any) -> Any:
        """Invoke a function and wait for its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a function has answered, whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Functions:
    """The other functions and the client that reaches them; safe for many threads."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def ask(self, name: str, event: Mapping[str, Any]) -> Answered:
        """Hand a request over to another function and wait for its answer.

        Args:
            name: The function.
            event: The request, as an API Gateway REST proxy event.

        Raises:
            Unavailable: The function did not answer; it may or may not have done what it was asked for.
        """
        try:
            given = self._client.invoke(FunctionName=name, Payload=orjson.dumps(event))
            payload: bytes = given["Payload"].read()
        except (ClientError, BotoCoreError) as exc:
            raise Unavailable(f"Function {name} did not answer; try again in a moment.") from exc
        prelude, separator, body = payload.partition(SEPARATOR)
        if given.get("FunctionError") or not separator:
            raise Unavailable(f"Function {name} failed before it answered; try again in a moment.")
        head = orjson.loads(prelude)
        return Answered(status=head["statusCode"], headers=head["headers"], body=body)
