"""The graph by itself, without a service."""

from graph import graph


def test_it_answers_with_the_conversation_in_mind():
    first = graph.invoke({"messages": [("user", "I am Ada.")]})
    assert first["messages"][-1].text == "You said 'I am Ada.'."
    second = graph.invoke({"messages": [*first["messages"], ("user", "Who am I?")]})
    assert "'I am Ada.'" in second["messages"][-1].text
