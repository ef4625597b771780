"""The limits of one run while it executes: how far it has come, and what ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph._internal._config import DEFAULT_RECURSION_LIMIT
from langgraph.errors import GraphRecursionError

from crewline.engine.crews import Graph
from crewline.engine.inputs import run_error
from crewline.engine.usages import TokenCounter
from crewline.errors import LimitExceeded, StaleOwner
from crewline.models.leases import Lease
from crewline.models.limits import Limits, micro_usd, usd
from crewline.models.runs import RunError

_PLACE: Final = "langgraph_checkpoint_ns"
_STEP: Final = "langgraph_step"
_WITHIN: Final = "|"
"""What LangGraph's metadata say of a node: its place, which has this when it is in a subgraph, and its superstep."""
_KEPT: Final = "what it had done is kept, and a run with input null goes on from there."


class Guard(BaseCallbackHandler):
    """Ends a run that crosses a limit; safe for the threads of its nodes.

    A node in a thread cannot be cancelled, and a model call costs money: so none begins any more
    once a limit of theirs is crossed, or the graph was stopped.

    Args:
        run_id: The run.
        limits: How far it may go.
        lease: The lease as it was claimed: what the run has done before counts.
        tokens: Counts its model calls, before this handler hears of them.
        stop: Cancels its graph; for any thread.
    """

    raise_error = True
    run_inline = True
    ignore_chain = True
    ignore_agent = True
    ignore_custom_event = True
    ignore_retriever = True
    ignore_retry = True

    def __init__(
        self, run_id: str, limits: Limits, *, lease: Lease, tokens: TokenCounter, stop: Callable[[], None]
    ) -> None:
        self._run_id = run_id
        self._limits = limits
        self._lease = lease
        self._tokens = tokens
        self._stop = stop
        self._supersteps: int | None = None
        """How many the run may make, by the caller's limit or ours."""
        self._ours = False
        """Whether that is our limit, and not the caller's."""
        self._first: int | None = None
        """LangGraph's number of the first superstep of this claim."""
        self.ignore_chain = not lease.steps  # the limit of a first claim is LangGraph's own to watch
        self.crossed: RunError | None = None
        """The limit of its model calls that the run has crossed."""
        self._closed = False
        self.on_llm_end()

    def on_chat_model_start(self, *_given: Any, **_: Any) -> None:
        """Refuse a model call.

        Raises:
            LimitExceeded: A limit is crossed.
            StaleOwner: The graph was stopped: whoever still calls does so for nobody.
        """
        if self.crossed:
            raise LimitExceeded(self.crossed.message)
        if self._closed:
            raise StaleOwner(f"Run {self._run_id} was stopped here; no model is called for it any more.")

    on_llm_start = on_chat_model_start

    def on_chain_start(self, *_given: Any, metadata: dict[str, Any] | None = None, **_: Any) -> None:
        """Refuse a superstep of the run's own graph that would be one too many, those of earlier claims counted.

        LangGraph counts anew in each claim, and every subgraph has the whole limit for itself.

        Raises:
            GraphRecursionError: It would be.
        """
        place, step = (metadata or {}).get(_PLACE), (metadata or {}).get(_STEP)
        if not place or _WITHIN in place or step is None or self._supersteps is None:
            return
        self._first = step if self._first is None else self._first
        if self._lease.steps + step - self._first > self._supersteps:  # the input's own one is not counted
            raise self._recursed()

    def close(self) -> None:
        """Let no model call begin any more: the graph was stopped, or has failed."""
        self._closed = True

    def on_llm_end(self, *_given: Any, **_: Any) -> None:
        """Look whether the model calls so far are within the limits, and end the run if not."""
        used, limits = self._tokens.committed, self._limits
        if self.crossed:
            return
        if limits.tokens and used.total_tokens > limits.tokens:
            self.crossed = self._error(
                "TokenLimit", f"has used {used.total_tokens:,} tokens, and may use {limits.tokens:,}"
            )
        elif limits.usd and used.micro_usd > micro_usd(limits.usd):
            self.crossed = self._error(
                "CostLimit", f"has cost {usd(used.micro_usd):,.6f} dollars, and may cost {limits.usd:,.6f}"
            )
        if self.crossed:
            self._stop()

    def left_s(self, now: int) -> float:
        """Tell how many seconds the run may still take.

        Args:
            now: The time.
        """
        return (self._lease.started - now) / 1000 + (self._limits.seconds or float("inf"))

    def timeout(self) -> RunError:
        """Say that the time of the run is over."""
        message = f"Run {self._run_id} was stopped after {self._limits.seconds} seconds, the longest it may take; {_KEPT}"
        return RunError(error="RunTimeout", message=message)

    def bounded(self, graph: Graph, config: RunnableConfig) -> RunnableConfig:
        """Tell LangGraph how many supersteps the run may make.

        Raises:
            GraphRecursionError: They have used it up.
        """
        asked: int = (
            config.get("recursion_limit")
            or (graph.config or {}).get("recursion_limit")
            or DEFAULT_RECURSION_LIMIT
        )
        self._supersteps = min(asked, self._limits.supersteps or asked)
        self._ours = self._supersteps < asked
        if self._lease.steps > self._supersteps:
            raise self._recursed()
        return {**config, "recursion_limit": self._supersteps}

    def failure(self, error: BaseException) -> RunError:
        """Show what the graph raised as the error of the run; LangGraph raises our limit of supersteps as its own."""
        if not self._ours or not isinstance(error, GraphRecursionError):
            return run_error(error)
        # One that a node gave to another graph is the crew's own.
        if f" {self._supersteps} " not in str(error):
            return run_error(error)
        return self._error(
            "SuperstepLimit", f"has made {self._limits.supersteps:,} supersteps, as many as it may"
        )

    def _recursed(self) -> GraphRecursionError:
        return GraphRecursionError(
            f"Recursion limit of {self._supersteps} reached without hitting a stop condition. "
            "You can increase the limit by setting the `recursion_limit` config key."
        )

    def _error(self, name: str, how: str) -> RunError:
        return RunError(error=name, message=f"Run {self._run_id} {how}; {_KEPT}")
