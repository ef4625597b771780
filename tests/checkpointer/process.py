"""A process of its own with a wrong clock; it takes turns on a thread as it is told, line by line.

python process.py <tenant> <seconds its clock is wrong by>
"""

from __future__ import annotations

import json
import operator
import sys
import time
from typing import Annotated, Any

from langgraph.graph import StateGraph
from typing_extensions import TypedDict

from crewline.engine.checkpointer import DynamoDBCheckpointer

_real = time.time_ns


class State(TypedDict):
    """What the thread holds."""

    said: Annotated[list[str], operator.add]


def answer(state: State) -> State:
    """Answer with the number of texts so far."""
    return {"said": [f"answer {len(state['said'])}"]}


def main(tenant: str, skew_s: float) -> None:
    """Answer each line, `[kind, text]`, with the texts that are the state after it."""
    time.time_ns = lambda: _real() + int(skew_s * 1e9)

    builder = StateGraph(State)
    builder.add_node("answer", answer)
    builder.set_entry_point("answer")
    graph: Any = builder.compile(
        checkpointer=DynamoDBCheckpointer("checkpoints", bucket="large-values", tenant=tenant)
    )
    config: Any = {"configurable": {"thread_id": "1"}}
    for line in sys.stdin:
        kind, text = json.loads(line)
        if kind == "turn":
            graph.invoke({"said": [text]}, config)
        elif kind in ("edit", "run"):
            older: Any = {"configurable": {**config["configurable"], "checkpoint_id": text}}
            if kind == "edit":
                graph.update_state(older, {"said": ["forked"]})
            else:
                graph.invoke({"said": ["forked"]}, older)
        state = graph.get_state(config)
        oldest = [*graph.get_state_history(config)][-2].config["configurable"]["checkpoint_id"]
        sys.stdout.write(json.dumps([state.values["said"], oldest]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
