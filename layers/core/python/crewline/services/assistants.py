"""Assistants: the default one of every crew, and those that clients make.

A default assistant is what the manifest says and costs nothing, until somebody changes it: from
then on it is a row like any other, with the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any, Final
from uuid import UUID, uuid4

from crewline.errors import Conflict, InvalidRequest, NotFound, Unavailable, UnknownCrew
from crewline.models.assistants import (
    WEBHOOK,
    Assistant,
    AssistantCount,
    AssistantCreate,
    AssistantPatch,
    AssistantSearch,
    VersionSearch,
    default_assistant_id,
    shared,
)
from crewline.models.clocks import Clock, iso, new_id, parse_id
from crewline.models.containment import contains
from crewline.models.manifests import Manifest
from crewline.models.users import EVERYTHING, Filters
from crewline.services.threads import Threads, batched, check_size
from crewline.store import assistants, entries, idempotency
from crewline.store.assistants import Row
from crewline.store.changes import MOST_GROUPED, Change
from crewline.store.idempotency import Made, Once
from crewline.store.table import Refused, Table

LOOKS: Final = 10_000
"""How many assistants of a tenant a search or a count looks at."""

_TRIES: Final = 20


class Assistants:
    """The assistants of all tenants; safe for many threads.

    Args:
        table: The table.
        manifest: Which crews there are.
        clock: Tells the time.
        threads: Deletes the threads of an assistant.
        check_webhook: Refuses an address that nothing will be posted to.
    """

    def __init__(
        self,
        table: Table,
        manifest: Manifest,
        clock: Clock,
        *,
        threads: Threads,
        check_webhook: Callable[[str], object],
    ) -> None:
        self._table = table
        self._clock = clock
        self._threads = threads
        self._check_webhook = check_webhook
        self._crews = frozenset(manifest.crews)
        since = iso(int(manifest.path.stat().st_mtime * 1000))
        self._defaults = {
            assistant.assistant_id: assistant
            for assistant in (
                Assistant(
                    assistant_id=default_assistant_id(graph_id),
                    graph_id=graph_id,
                    name=graph_id,
                    description=crew.description,
                    created_at=since,
                    updated_at=since,
                    metadata={"created_by": "system"},
                )
                for graph_id, crew in manifest.crews.items()
            )
        }
        self._changed: set[tuple[str, str]] = set()

    # ------------------------------------------------------------------ one assistant

    def get(self, tenant: str, assistant_id: str) -> Assistant:
        """Find an assistant by its id.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such assistant.
            Unavailable: DynamoDB did not answer.
        """
        assistant_id = parse_id(assistant_id, "assistant")
        return self._read(tenant, assistant_id)[0]

    def identify(self, id_or_graph: str) -> str:
        """Give the id of the assistant that a run names by id or by the name of its crew; reads nothing.

        Raises:
            InvalidRequest: It is neither a UUID nor a crew of this deployment.
        """
        try:
            return str(UUID(id_or_graph))
        except ValueError:
            self._check_crew(id_or_graph)
            return default_assistant_id(id_or_graph)

    def resolve(self, tenant: str, id_or_graph: str) -> Assistant:
        """Find the assistant that a run names, as it is now.

        Raises:
            InvalidRequest: It is neither a UUID nor a crew of this deployment, or its crew is not.
            NotFound: It is a UUID, but no assistant has it.
            Unavailable: DynamoDB did not answer.
        """
        assistant = self.get(tenant, self.identify(id_or_graph))
        self._check_crew(assistant.graph_id)
        return assistant

    def assume(self, tenant: str, id_or_graph: str) -> Assistant | None:
        """Give a default assistant as the manifest has it; reads nothing, so somebody may have changed it.

        Returns:
            The assistant; None when it is no default one, or this process has seen it changed.

        Raises:
            InvalidRequest: It is neither a UUID nor a crew of this deployment.
        """
        assistant_id = self.identify(id_or_graph)
        return None if (tenant, assistant_id) in self._changed else self._defaults.get(assistant_id)

    def default(self, assistant_id: str) -> Assistant | None:
        """Give a default assistant as the manifest has it, whether or not somebody has changed it."""
        return self._defaults.get(assistant_id)

    def create(
        self, tenant: str, body: AssistantCreate, *, once: Once | None = None, sees: Filters = EVERYTHING
    ) -> Assistant:
        """Make an assistant.

        Args:
            tenant: Whose assistant.
            body: What it is to be.
            once: Names the request, so that a repetition gives the same assistant.
            sees: Which assistants the caller may see.

        Returns:
            The assistant; the one that is there when the id is taken, and the caller said `do_nothing` and may see it.

        Raises:
            BadRequest: `config.configurable` and `context` are both given.
            InvalidRequest: The crew is not in this deployment, or the webhook's address is refused.
            Conflict: The id is taken, or the same key came with another body.
            NotFound: The assistant that the first such request made has been deleted.
            TooLarge: A field is over the limit.
            Unavailable: DynamoDB did not answer; the assistant may or may not be there.
        """
        self._check_crew(body.graph_id)
        self._check_metadata(body.metadata)
        now = iso(self._clock())
        config, context = body.settings
        assistant = _configured(
            Assistant(
                assistant_id=body.assistant_id or new_id(),
                graph_id=body.graph_id,
                name=body.name or "Untitled",
                description=body.description,
                metadata=body.metadata or {},
                created_at=now,
                updated_at=now,
            ),
            config,
            context,
        )
        row = Row(assistant=assistant, newest=1, token=uuid4().hex)
        changes: list[Change] = [
            assistants.put(tenant, row, before=None),
            assistants.put_version(tenant, assistant),
        ]
        if once:
            made = Made(assistant_id=assistant.assistant_id, digest=once.digest, created_at=now)
            changes.append(idempotency.put(tenant, once, made, now=self._clock()))
        if assistant.assistant_id in self._defaults:
            return self._taken(tenant, body, assistant.assistant_id, sees)
        try:
            self._table.transact(changes)
        except Refused as exc:
            if once and (item := exc.items.get(len(changes) - 1)) and "digest" in item:
                return self._repeated(tenant, once, idempotency.from_item(item), sees)
            if (exc.items.get(0) or {}).get("token") != row.token:
                return self._taken(tenant, body, assistant.assistant_id, sees)
        return assistant

    def patch(self, tenant: str, assistant_id: str, body: AssistantPatch) -> Assistant:
        """Change an assistant, which makes a version of it that is the latest from now on.

        Raises:
            BadRequest: `config.configurable` and `context` are both given.
            InvalidRequest: The id is no UUID, the crew is not in this deployment, or the webhook's address is refused.
            Conflict: The default assistant of a crew is to get another one.
            NotFound: There is no such assistant.
            TooLarge: A field is over the limit.
            Unavailable: DynamoDB did not answer, or many others change it; the change may have landed.
        """
        assistant_id = parse_id(assistant_id, "assistant")
        self._check_metadata(body.metadata)
        if body.graph_id is not None:
            self._check_crew(body.graph_id)
            default = self._defaults.get(assistant_id)
            if default and body.graph_id != default.graph_id:
                raise Conflict(
                    f"Assistant {assistant_id} is the default one of crew {default.graph_id!r} and stays with it; make "
                    "an assistant of your own with POST /assistants."
                )
        config, context = body.settings
        token = uuid4().hex
        for _ in range(_TRIES):
            was, before = self._read(tenant, assistant_id)
            newest = before.newest if before else was.version
            given = {
                name: value
                for name in ("graph_id", "name", "description")
                if (value := getattr(body, name)) is not None
            }
            now = _configured(
                replace(
                    was,
                    **given,
                    metadata={**was.metadata, **(body.metadata or {})},
                    version=newest + 1,
                    created_at=iso(self._clock()),
                ),
                config,
                context,
            )
            row = Row(
                assistant=replace(now, created_at=was.created_at, updated_at=now.created_at),
                newest=now.version,
                token=token,
            )
            changes: list[Change] = [
                assistants.put(tenant, row, before=before),
                assistants.put_version(tenant, now),
            ]
            if before is None:  # a default assistant as it was until now
                changes.append(assistants.put_version(tenant, was))
            if self._carried_out(changes, token):
                return row.assistant
        raise _busy(assistant_id)

    def set_latest(self, tenant: str, assistant_id: str, version: int) -> Assistant:
        """Make a kept version the one that the assistant is.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such assistant, or no such version of it.
            Unavailable: DynamoDB did not answer, or many others change it; the change may have landed.
        """
        assistant_id = parse_id(assistant_id, "assistant")
        token = uuid4().hex
        for _ in range(_TRIES):
            was, before = self._read(tenant, assistant_id)
            if before is None and version == was.version:
                return was
            kept = assistants.get_version(self._table, tenant, assistant_id, version) if before else None
            if kept is None or before is None:
                raise NotFound(
                    f"Assistant {assistant_id} has no version {version}; POST /assistants/{assistant_id}/versions lists them."
                )
            now = replace(kept, created_at=was.created_at, updated_at=iso(self._clock()))
            row = Row(assistant=now, newest=before.newest, token=token)
            changes: list[Change] = [
                assistants.put(tenant, row, before=before),
                assistants.version_exists(tenant, assistant_id, version),
            ]
            if self._carried_out(changes, token):
                return now
        raise _busy(assistant_id)

    def delete(
        self, tenant: str, assistant_id: str, *, with_threads: bool = False, sees: Filters = EVERYTHING
    ) -> None:
        """Delete an assistant with its versions; runs that were accepted go on as they are.

        The row goes last: whoever dies on the way, or runs out of time over many threads, leaves an
        assistant that can be deleted again.

        Args:
            tenant: Whose assistant.
            assistant_id: The assistant.
            with_threads: First delete the threads whose metadata has its id.
            sees: Which of them the caller may delete.

        Raises:
            InvalidRequest: The id is no UUID.
            Conflict: It is the default assistant of a crew.
            NotFound: There is no such assistant.
            Unavailable: DynamoDB did not answer, or many others change it; some of it may be gone.
        """
        assistant_id = parse_id(assistant_id, "assistant")
        if default := self._defaults.get(assistant_id):
            raise Conflict(
                f"Assistant {assistant_id} is the default one of crew {default.graph_id!r} and stays as long as the "
                "crew; take the crew out of the manifest, or make an assistant of your own with POST /assistants."
            )
        self._read(tenant, assistant_id)
        if with_threads:
            self._delete_threads(tenant, assistant_id, sees)
        for attempt in range(_TRIES):
            row = assistants.get(self._table, tenant, assistant_id)
            if row is None and attempt:
                return  # another request has done the rest
            if row is None:
                raise no_assistant(assistant_id)
            with suppress(Refused):  # changed meanwhile: what has become of it goes
                self._delete(tenant, row)
                return
        raise _busy(assistant_id)

    def _delete(self, tenant: str, row: Row) -> None:
        assistant_id = row.assistant.assistant_id
        versions = [one.version for one in assistants.versions(self._table, tenant, assistant_id)]
        *groups, last = list(batched(versions, MOST_GROUPED)) or [[]]
        for group in groups:
            self._table.transact(
                [
                    assistants.unchanged(tenant, row),
                    *(assistants.delete_version(tenant, assistant_id, version) for version in group),
                ]
            )
        self._table.transact(
            [
                assistants.delete(tenant, row),
                *(assistants.delete_version(tenant, assistant_id, version) for version in last),
            ]
        )

    def _delete_threads(self, tenant: str, assistant_id: str, sees: Filters) -> None:
        found = entries.in_order(self._table, tenant, "assistant_id", assistant_id, page=MOST_GROUPED)
        for thread_id in found:
            with suppress(NotFound):  # somebody else has deleted it
                if not sees or sees.match(self._threads.row(tenant, thread_id).metadata):
                    self._threads.delete(tenant, thread_id)

    # ------------------------------------------------------------------ many

    def search(
        self, tenant: str, query: AssistantSearch, *, sees: Filters = EVERYTHING
    ) -> tuple[list[Assistant], bool]:
        """List assistants; filters apply before paging.

        Args:
            tenant: Whose assistants.
            query: Which of them are wanted.
            sees: Which of them the caller may see.

        Returns:
            A page, and whether there is more behind it.

        Raises:
            InvalidRequest: The tenant has too many assistants to look at.
            Unavailable: DynamoDB did not answer.
        """
        by = query.sort_by or "created_at"
        found = sorted(
            self._matching(tenant, query, sees),
            key=lambda one: (getattr(one, by), one.assistant_id),
            reverse=query.sort_order != "asc",
        )
        end = query.offset + query.limit
        return found[query.offset : end], len(found) > end

    def count(self, tenant: str, query: AssistantCount, *, sees: Filters = EVERYTHING) -> int:
        """Count assistants: those that the caller may see.

        Raises:
            InvalidRequest: The tenant has too many assistants to look at.
            Unavailable: DynamoDB did not answer.
        """
        return sum(1 for _ in self._matching(tenant, query, sees))

    def versions(self, tenant: str, assistant_id: str, query: VersionSearch) -> list[Assistant]:
        """List the versions of an assistant, the newest first; the filter applies before paging.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such assistant.
            Unavailable: DynamoDB did not answer.
        """
        assistant_id = parse_id(assistant_id, "assistant")
        was, row = self._read(tenant, assistant_id)
        kept = assistants.versions(self._table, tenant, assistant_id) if row else iter([was])
        found = (one for one in kept if contains(one.metadata, query.metadata or {}))
        return list(islice(found, query.offset, query.offset + query.limit))

    def _matching(self, tenant: str, query: AssistantCount, sees: Filters) -> Iterator[Assistant]:
        name = (query.name or "").lower()
        for assistant in self._all(tenant):
            if (
                query.graph_id in (None, assistant.graph_id)
                and name in assistant.name.lower()
                and contains(assistant.metadata, query.metadata or {})
                and sees.match(assistant.metadata)
            ):
                yield assistant

    def _all(self, tenant: str) -> Iterator[Assistant]:
        left = dict(self._defaults)
        for count, row in enumerate(assistants.rows(self._table, tenant)):
            if count == LOOKS:
                raise InvalidRequest(
                    f"There are more than {LOOKS:,} assistants, as many as a search looks at; delete those that nobody "
                    "uses, or get the one you need by its id."
                )
            left.pop(row.assistant.assistant_id, None)
            yield row.assistant
        yield from left.values()

    # ------------------------------------------------------------------ parts

    def _read(self, tenant: str, assistant_id: str) -> tuple[Assistant, Row | None]:
        """Read an assistant; without a row it is a default one that nobody has changed."""
        row = assistants.get(self._table, tenant, assistant_id)
        if row:
            if assistant_id in self._defaults:
                self._changed.add((tenant, assistant_id))
            return row.assistant, row
        default = self._defaults.get(assistant_id)
        if default is None:
            raise no_assistant(assistant_id)
        return default, None

    def _carried_out(self, changes: list[Change], token: str) -> bool:
        """Carry out a change; False when somebody else has changed the assistant since it was read."""
        try:
            self._table.transact(changes)
        except Refused as exc:
            return (exc.items.get(0) or {}).get("token") == token  # it landed, but the answer was lost
        return True

    def _taken(self, tenant: str, body: AssistantCreate, assistant_id: str, sees: Filters) -> Assistant:
        if body.if_exists == "do_nothing":
            found = self._read(tenant, assistant_id)[0]
            if sees.match(found.metadata):
                return found
        raise Conflict(
            f"Assistant {assistant_id} exists already; pass if_exists='do_nothing' to use it as it is."
        )

    def _repeated(self, tenant: str, once: Once, made: Made, sees: Filters) -> Assistant:
        if made.digest != once.digest:
            raise Conflict(
                f"Idempotency-Key {once.key[:100]!r} was used for assistant {made.assistant_id} with another body; "
                "send a new key."
            )
        found = self._read(tenant, made.assistant_id or "")[0]
        if not sees.match(found.metadata):  # somebody has taken the id since the first one was deleted
            raise no_assistant(found.assistant_id)
        return found

    def _check_metadata(self, metadata: Mapping[str, Any] | None) -> None:
        webhook = (metadata or {}).get(WEBHOOK)
        if isinstance(webhook, str):
            self._check_webhook(webhook)
        elif webhook is not None:
            raise InvalidRequest(f"metadata.{WEBHOOK} must be a URL, or null for none.")

    def _check_crew(self, graph_id: str) -> None:
        if graph_id not in self._crews:
            raise UnknownCrew(
                f"Invalid assistant: {graph_id[:100]!r} is no crew of this deployment; "
                f"it has {', '.join(sorted(self._crews))}."
            )


def _configured(
    assistant: Assistant, config: dict[str, Any] | None, context: dict[str, Any] | None
) -> Assistant:
    """Give an assistant config and context, each with the values of the other; None leaves what is there."""
    if config is None and context is not None:
        assistant = replace(
            assistant, config={**assistant.config, "configurable": shared(context)}, context=context
        )
    elif config is not None:
        context = dict(assistant.context) if context is None else context
        if context and not config.get("configurable"):
            config = {**config, "configurable": shared(context)}
        assistant = replace(assistant, config=config, context=context)
    for name in ("config", "context", "metadata"):
        check_size(name, getattr(assistant, name))
    return assistant


def no_assistant(assistant_id: str) -> NotFound:
    """Say that there is no such assistant."""
    return NotFound(f"Assistant with ID {assistant_id} not found; POST /assistants/search lists them.")


def _busy(assistant_id: str) -> Unavailable:
    return Unavailable(f"Assistant {assistant_id} is being changed by many others; try again in a moment.")
