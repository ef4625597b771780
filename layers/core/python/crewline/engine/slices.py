"""Slices: the part of a run that one invocation executes, and when it has to stop.

A slice ends between two supersteps, as soon as another one may not fit any more. What is still
running when the time is up is given up, and begins anew in the next slice; only a node that had the
whole slice for itself is an error, for the next slice would be no longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.runtime import RunControl

ENDING_S: Final = 10.0
"""What the end of a slice needs: the last writes, the dispatch of the next."""
_SPREAD: Final = 1.5
"""How much longer than the longest node so far the next superstep may take."""
_PLACE: Final = "langgraph_checkpoint_ns"
"""What LangGraph's metadata say of the place of whatever runs within a node or a task, by which it is known."""


@dataclass(slots=True)
class _Node:
    name: str
    place: str
    began: float
    first: bool
    """Nothing of the slice had been done when it began."""
    leaf: bool = True
    """No other one is in it: no node of a subgraph, and no task of a workflow."""


class Steps(BaseCallbackHandler):
    """Watches the nodes of a run, those of subgraphs and the tasks of workflows included; safe for their threads.

    Args:
        clock: Monotonic seconds.
    """

    run_inline = True
    # The events of tools are among those of agents.
    ignore_chat_model = True
    ignore_custom_event = True
    ignore_llm = True
    ignore_retriever = True
    ignore_retry = True

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._nodes: dict[UUID, _Node] = {}
        self._within: dict[UUID, _Node | None] = {}
        """What runs within a node, by the node: chains and tools call others before another node comes."""
        self.done = 0
        """Nodes that have ended; one that had others in it does not count."""
        self.longest_s = 0.0
        """The longest of them."""

    def on_chain_start(
        self,
        *_given: Any,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **more: Any,
    ) -> None:
        """Note a node that begins."""
        place = (metadata or {}).get(_PLACE)
        with self._lock:
            around = self._within.get(parent_run_id) if parent_run_id else None
            if not place or (around and around.place == place):
                self._within[run_id] = around
                return
            if around:
                around.leaf = False
            node = _Node(str(more.get("name") or "node"), place, self._clock(), first=not self.done)
            self._nodes[run_id] = self._within[run_id] = node

    def on_chain_end(self, *_given: Any, run_id: UUID, **_: Any) -> None:
        """Note a node that has ended."""
        with self._lock:
            self._within.pop(run_id, None)
            node = self._nodes.pop(run_id, None)
            if node and node.leaf:
                self.done += 1
                self.longest_s = max(self.longest_s, self._clock() - node.began)

    def on_chain_error(self, *_given: Any, run_id: UUID, **_: Any) -> None:
        """Forget a node that has failed, or was given up."""
        with self._lock:
            self._within.pop(run_id, None)
            self._nodes.pop(run_id, None)

    def on_tool_start(self, *_given: Any, run_id: UUID, parent_run_id: UUID | None = None, **_: Any) -> None:
        """Note a tool, which may call a graph of its own."""
        with self._lock:
            self._within[run_id] = self._within.get(parent_run_id) if parent_run_id else None

    def on_tool_end(self, *_given: Any, run_id: UUID, **_: Any) -> None:
        """Forget a tool, however it has ended."""
        with self._lock:
            self._within.pop(run_id, None)

    on_tool_error = on_tool_end

    def outliving(self) -> list[str]:
        """Name the nodes that run since before anything of the slice was done."""
        with self._lock:
            return sorted({node.name for node in self._nodes.values() if node.leaf and node.first})


class Slice(RunControl):
    """Tells LangGraph before each superstep whether it still fits.

    Args:
        ends: When the invocation ends, by the clock.
        longest_ms: What the longest node of earlier slices took.
        clock: Monotonic seconds.
    """

    __slots__ = ("_begun", "_clock", "_longest_s", "steps", "stops")

    def __init__(
        self, ends: float, *, longest_ms: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._clock = clock
        self._begun = clock()
        self._longest_s = longest_ms / 1000
        self.steps = Steps(clock)
        self.stops = ends - ENDING_S
        """When whatever still runs is given up."""

    @property
    def drain_requested(self) -> bool:
        """Whether the next superstep may not fit; never before something of the slice is done."""
        if super().drain_requested:
            return True
        # Half of the slice at most: one long node must not make every other slice a short one.
        margin = min(_SPREAD * self.longest_s, (self.stops - self._begun) / 2)
        return self.steps.done > 0 and self._clock() >= self.stops - margin

    @property
    def longest_s(self) -> float:
        """What the longest node of the run has taken so far."""
        return max(self._longest_s, self.steps.longest_s)

    @property
    def left_s(self) -> float:
        """How long the slice may still take."""
        return max(0.0, self.stops - self._clock())

    @property
    def lasted_s(self) -> float:
        """How long a slice like this one lasts."""
        return self.stops - self._begun
