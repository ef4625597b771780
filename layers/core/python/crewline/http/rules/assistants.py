"""Assistants."""

from __future__ import annotations

from typing import Final

from crewline.http.grants import Asked, Granted, Rule, filled, kept, metadata_of, put_back, some, uuid_of
from crewline.models.users import Sender

FIELDS: Final = ("graph_id", "config", "context", "name", "description")
"""Fields of an assistant, beside its metadata, that handlers are told and may change."""


def on_assistant(action: str, *names: str) -> Rule:
    """Make the rule of a route about one assistant.

    Args:
        action: What it does.
        names: Fields of its body that handlers are told.
    """

    def rule(asked: Asked) -> Granted:
        fields = asked.fields
        assistant_id = asked.assistants.identify(asked.path["assistant_id"])
        value = {
            **some(fields, *names),
            "assistant_id": uuid_of(assistant_id),
            "metadata": metadata_of(fields if "metadata" in names else {}),
        }
        sees = asked.ask("assistants", action, value)
        asked.check_seen(sees, assistant_id)
        if "metadata" not in names:
            return Granted(body=asked.body, senders=(Sender(sees=sees),))
        kept(sees, value)
        return Granted(body=put_back(fields, value, *names), senders=(Sender(sees=sees),))

    return rule


def create_assistant(asked: Asked) -> Granted:
    """Make an assistant."""
    fields = asked.fields
    value = {**some(fields, *FIELDS, "if_exists"), "metadata": metadata_of(fields)}
    if fields.get("assistant_id") is not None:
        value["assistant_id"] = uuid_of(fields["assistant_id"])
    sees = asked.ask("assistants", "create", value)
    body = {**put_back(fields, value, *FIELDS, "if_exists"), "metadata": filled(sees, value)}
    return Granted(body=body, senders=(Sender(sees=sees),))


def search_assistants(asked: Asked) -> Granted:
    """Search for assistants, or count them."""
    fields = asked.fields
    names = ("graph_id", "limit", "offset")
    value = {**some(fields, *names), "metadata": metadata_of(fields)}
    sees = asked.ask("assistants", "search", value)
    return Granted(body=put_back(fields, value, *names, "metadata"), senders=(Sender(sees=sees),))


def delete_assistant(asked: Asked) -> Granted:
    """Delete an assistant, and if asked for those threads of it that the user may delete."""
    granted = on_assistant("delete")(asked)
    if not asked.flag("delete_threads"):
        return granted
    threads = asked.ask("threads", "delete", {"metadata": {"assistant_id": asked.path["assistant_id"]}})
    return Granted(body=granted.body, senders=(Sender(sees=threads),))
