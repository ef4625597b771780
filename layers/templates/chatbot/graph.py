"""A chatbot: each run on a thread answers its last message, with all that was said before."""

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph


def answer(state: MessagesState) -> dict:
    """Answer the last message. A model's call goes here: `model.invoke(state["messages"])`."""
    said = [message.text for message in state["messages"] if message.type == "human"]
    reply = f"You said {said[-1]!r}."
    if len(said) > 1:
        reply += f" Before that, you said {said[-2]!r}."
    return {"messages": [AIMessage(reply)]}


graph = StateGraph(MessagesState).add_node(answer).add_edge(START, "answer").compile()
