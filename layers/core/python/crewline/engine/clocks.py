"""LangGraph's clock for checkpoint ids: those of one thread must increase, whatever the machines' clocks say."""

from __future__ import annotations

from langgraph.checkpoint.base import id as langgraph_ids

# A private name, used by `move_clock_past`: checked here, once.
if not hasattr(langgraph_ids, "_last_v6_timestamp"):
    raise ImportError(
        "This LangGraph keeps its uuid6 clock elsewhere; Crewline needs langgraph-checkpoint >=4.3,<4.4."
    )

_UUID6 = 6


def move_clock_past(checkpoint_id: str | None) -> None:
    """Make the ids that LangGraph draws from now on higher than this one.

    Args:
        checkpoint_id: An id that was read; one that LangGraph did not draw is ignored.
    """
    if checkpoint_id is None:
        return
    try:
        drawn = langgraph_ids.UUID(hex=checkpoint_id)
    except ValueError:
        return
    last: int | None = langgraph_ids._last_v6_timestamp  # noqa: SLF001
    if drawn.version == _UUID6 and (last is None or last < drawn.time):
        langgraph_ids._last_v6_timestamp = drawn.time  # type: ignore[assignment]  # noqa: SLF001
