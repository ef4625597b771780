"""The store: a handler says under which namespace a user looks."""

from __future__ import annotations

from typing import Any

from crewline.errors import Forbidden, InvalidRequest
from crewline.http.authorities import BadAnswer, plain
from crewline.http.grants import Asked, Granted, Rule, put_back, some
from crewline.models.store_items import check_labels, split_namespace


def on_store(action: str, named: str, *names: str) -> Rule:
    """Make the rule of a route of the store: the handler says under which namespace it looks.

    Args:
        action: What it does.
        named: The field of the body that has the namespace.
        names: Other fields that handlers are told, and may change.
    """

    def rule(asked: Asked) -> Granted:
        fields = asked.fields
        sent = fields.get(named)
        if sent is not None and not (isinstance(sent, list) and all(isinstance(one, str) for one in sent)):
            raise InvalidRequest(f"Invalid request: {named}: input should be a list of texts.")
        absent = None if action == "list_namespaces" else ()
        value = {
            **dict.fromkeys(names),
            **some(fields, *names),
            "namespace": absent if sent is None else tuple(sent),
        }
        labels = _ask_store(asked, action, value)
        body = put_back(fields, {name: one for name, one in value.items() if one is not None}, *names)
        return Granted(body={**body, named: labels})

    return rule


def get_item(asked: Asked) -> Granted:
    """Read an item."""
    value = {"namespace": split_namespace(asked.one("namespace") or ""), "key": asked.one("key")}
    labels = _ask_store(asked, "get", value)
    query = {**asked.query, "namespace": [".".join(labels)]}
    return Granted(body=asked.body, query=query)


def _ask_store(asked: Asked, action: str, value: dict[str, Any]) -> list[str]:
    """Ask under which namespace a request looks.

    Raises:
        InvalidRequest: A label of it could be read as two, or is none.
        Forbidden: The handler says no, or says it by metadata, which items do not have.
        BadAnswer: It has put something else in the place of the namespace.
    """
    was = value["namespace"]
    if asked.ask("store", action, value):
        raise Forbidden(
            "The project's authentication filters by metadata, which items of the store do not have; "
            "a handler of its own, @auth.on.store, says under which namespace a user looks."
        )
    labels = plain(value["namespace"])
    if labels is None and was is None:
        labels = []
    if not isinstance(labels, list):  # nothing in its place would be the whole store
        raise BadAnswer(f"The handler of store.{action} left a {type(labels).__name__} for a namespace.")
    try:
        check_labels(labels)
    except ValueError as exc:
        raise InvalidRequest(f"namespace: {exc}.") from exc
    return list(labels)
