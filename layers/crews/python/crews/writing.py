"""The one place where the crews use a language model, if there is one."""

import importlib
import os


def write(task: str, text: str, fallback: str) -> str:
    """Have the model that CREWLINE_MODEL names carry out a writing task.

    Without the variable the crews work offline: nothing is called and the fallback is the answer.

    Args:
        task: What to write, as an instruction.
        text: The material to write from.
        fallback: What the crew wrote by itself; also the answer if the model says nothing.

    Returns:
        The model's text, or the fallback.

    Raises:
        RuntimeError: CREWLINE_MODEL is set but the package langchain is not installed.
    """
    model = os.environ.get("CREWLINE_MODEL")  # provider:name, such as "anthropic:claude-sonnet-4-5"
    if not model:
        return fallback
    try:
        chat_models = importlib.import_module("langchain.chat_models")
    except ImportError as exc:
        provider = model.partition(":")[0]
        raise RuntimeError(
            f"CREWLINE_MODEL is {model!r}, but langchain is not installed; "
            f"add langchain and langchain-{provider} to the crew's dependencies or unset CREWLINE_MODEL."
        ) from exc
    answer = chat_models.init_chat_model(model).invoke([("system", task), ("human", text)])
    return str(answer.text).strip() or fallback
