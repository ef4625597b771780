"""The graph by itself, without a service."""

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from graph import graph


def test_nothing_is_published_before_a_person_has_said_so():
    durable = graph.copy()
    durable.checkpointer = InMemorySaver()
    config = {"configurable": {"thread_id": "1"}}
    asked = durable.invoke({"topic": "tea"}, config)
    assert asked["__interrupt__"][0].value["draft"] == "About tea."
    asked = durable.invoke(Command(resume="a price"), config)
    assert asked["__interrupt__"][0].value["draft"] == "About tea. With a price."
    assert durable.invoke(Command(resume=True), config)["published"]
