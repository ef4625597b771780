"""Assistants: for now the default one of every crew."""

from __future__ import annotations

from uuid import UUID

from crewline.errors import InvalidRequest, NotFound
from crewline.models.assistants import Assistant, AssistantSearch, default_assistant_id
from crewline.models.clocks import iso, parse_id
from crewline.models.manifests import Manifest


class Assistants:
    """The assistants of this deployment."""

    def __init__(self, manifest: Manifest) -> None:
        since = iso(int(manifest.path.stat().st_mtime * 1000))
        self._by_id = {
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

    def get(self, assistant_id: str) -> Assistant:
        """Find an assistant by its id.

        Raises:
            InvalidRequest: The id is no UUID.
            NotFound: There is no such assistant.
        """
        found = self._by_id.get(parse_id(assistant_id, "assistant"))
        if found is None:
            raise NotFound(f"Assistant with ID {assistant_id} not found; POST /assistants/search lists them.")
        return found

    def resolve(self, id_or_graph: str) -> Assistant:
        """Find the assistant that a run names by id or by the name of its crew.

        Raises:
            InvalidRequest: It is neither a UUID nor a crew of this deployment.
            NotFound: It is a UUID, but no assistant has it.
        """
        try:
            UUID(id_or_graph)
        except ValueError:
            found = self._by_id.get(default_assistant_id(id_or_graph))
            if found is None:
                crews = ", ".join(sorted(assistant.graph_id for assistant in self._by_id.values()))
                raise InvalidRequest(
                    f"Invalid assistant: {id_or_graph[:100]!r} is no crew of this deployment; it has {crews}."
                ) from None
            return found
        return self.get(id_or_graph)

    def search(self, query: AssistantSearch) -> list[Assistant]:
        """List assistants; filters apply before paging."""
        wanted = query.metadata or {}
        found = [
            assistant
            for assistant in self._by_id.values()
            if query.graph_id in (None, assistant.graph_id)
            and (query.name or "").lower() in assistant.name.lower()
            and all(assistant.metadata.get(name) == value for name, value in wanted.items())
        ]
        found.sort(
            key=lambda one: (getattr(one, query.sort_by), one.graph_id), reverse=query.sort_order == "desc"
        )
        return found[query.offset : query.offset + query.limit]
