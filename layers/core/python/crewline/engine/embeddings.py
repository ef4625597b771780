"""Texts as vectors, by what the manifest's `store.index` names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from langchain_core.embeddings import Embeddings
from langgraph.store.base import ensure_embeddings, get_text_at_path, tokenize_path
from langgraph.store.base.embed import EmbeddingsLambda

from crewline.engine.loops import CrewLoop
from crewline.errors import BadManifest
from crewline.models.manifests import Manifest
from crewline.models.modules import load
from crewline.models.store_queries import pack

_WHOLE: Final = "$"
"""The path of a whole value."""


def load_embedder(manifest: Manifest) -> Embedder | None:
    """Import what a manifest makes vectors of texts with.

    Args:
        manifest: The project's.

    Returns:
        What embeds; None when the manifest says of nothing how.

    Raises:
        BadManifest: It is not there, or needs a package that is not.
        CrewFailedToLoad: Its file raised while it was imported.
    """
    policy = manifest.store.index
    if policy is None:
        return None
    embed: Any = policy.embed
    if manifest.embed:
        embed = load(manifest.embed, manifest, where=f"store.index.embed ({manifest.embed.path})")
    try:
        embeddings = ensure_embeddings(embed)
    except (ValueError, ImportError) as exc:
        raise BadManifest(
            f"{manifest.path}: store.index.embed {policy.embed!r} does not load: {exc}"
        ) from exc
    return Embedder(embeddings, policy.dims, policy.fields or [_WHOLE])


@dataclass(frozen=True, slots=True)
class Wanted:
    """Texts that need vectors, each once."""

    documents: list[str]
    queries: list[str]


@dataclass(frozen=True, slots=True)
class Vectors:
    """Text → its vector."""

    documents: Mapping[str, Sequence[float]]
    queries: Mapping[str, Sequence[float]]


class Embedder:
    """Makes vectors of texts, as the manifest's `store.index` says.

    Args:
        embeddings: What LangChain makes them with.
        dims: Numbers that each must have.
        fields: Paths of the texts of a value, where an item does not say more.
    """

    def __init__(self, embeddings: Embeddings, dims: int, fields: Sequence[str]) -> None:
        self.dims = dims
        self._embeddings = embeddings
        self._fields = fields
        # LangGraph's own wrapper has no way to call a coroutine function from a thread.
        self._only_async = isinstance(embeddings, EmbeddingsLambda) and not hasattr(embeddings, "func")

    def texts(self, value: Mapping[str, Any], index: Sequence[str] | None) -> list[str]:
        """Find the texts of a value that are embedded, each once."""
        found = (
            get_text_at_path(value, path if path == _WHOLE else tokenize_path(path))
            for path in (self._fields if index is None else index)
        )
        return list(dict.fromkeys(text for texts in found for text in texts))

    def embed(self, wanted: Wanted, loop: CrewLoop) -> Vectors:
        """Make vectors, from any thread but that of the loop.

        Args:
            wanted: The texts.
            loop: Where a function that is a coroutine runs.

        Raises:
            BadManifest: What embeds gave other vectors than the manifest says.
            Exception: Whatever it raised.
        """
        if self._only_async:
            return loop.wait(self.aembed(wanted))
        documents = self._embeddings.embed_documents(wanted.documents) if wanted.documents else []
        queries = [self._embeddings.embed_query(text) for text in wanted.queries]
        return self._checked(wanted, documents, queries)

    async def aembed(self, wanted: Wanted) -> Vectors:
        """Make vectors, on the loop that executes crews.

        Raises:
            BadManifest: What embeds gave other vectors than the manifest says.
            Exception: Whatever it raised.
        """
        documents = await self._embeddings.aembed_documents(wanted.documents) if wanted.documents else []
        queries = await asyncio.gather(*(self._embeddings.aembed_query(text) for text in wanted.queries))
        return self._checked(wanted, documents, queries)

    def _checked(
        self, wanted: Wanted, documents: Sequence[Sequence[float]], queries: Sequence[Sequence[float]]
    ) -> Vectors:
        if len(documents) != len(wanted.documents):
            raise BadManifest(
                f"store.index.embed gave {len(documents)} vectors for {len(wanted.documents)} texts; "
                "it has to give one for each."
            )
        for vector in (*documents, *queries):
            if len(vector) != self.dims:
                raise BadManifest(
                    f"store.index.embed gave a vector of {len(vector)} numbers; store.index.dims says {self.dims}."
                )
        try:
            pack(queries)
        except (ValueError, TypeError) as exc:
            raise BadManifest(f"store.index.embed: {exc}.") from exc
        return Vectors(
            dict(zip(wanted.documents, documents, strict=True)),
            dict(zip(wanted.queries, queries, strict=True)),
        )
