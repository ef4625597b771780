"""The event bus: how lifecycle events leave for EventBridge."""

from __future__ import annotations

from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from crewline.errors import Unavailable


class Client(Protocol):
    """The client of EventBridge as it is used here."""

    def put_events(self, **arguments: Any) -> Any:
        """Take events; the answer says which of them were not taken."""


class EventBus:
    """A bus and the client that reaches it; safe for many threads.

    Args:
        client: The client of EventBridge.
        name: Name or ARN of the bus.
    """

    def __init__(self, client: Client, name: str) -> None:
        self._client = client
        self._name = name

    def put(self, source: str, kind: str, detail: str) -> None:
        """Give the bus an event.

        Args:
            source: Who says it.
            kind: What has happened: the detail type, by which rules choose.
            detail: JSON.

        Raises:
            Unavailable: EventBridge did not take it.
        """
        entry = {"EventBusName": self._name, "Source": source, "DetailType": kind, "Detail": detail}
        try:
            answer = self._client.put_events(Entries=[entry])
        except (ClientError, BotoCoreError) as exc:
            raise Unavailable("The event bus did not answer; try again in a moment.") from exc
        if answer.get("FailedEntryCount"):
            refusal = answer["Entries"][0].get("ErrorCode", "without a reason")
            raise Unavailable(f"The event bus refused an event: {refusal}.")
