"""Puts the example crews on the path, as the `dependencies` of their langgraph.json do."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

CREWS = Path(__file__).parents[3] / "layers" / "crews"
sys.path.insert(0, str(CREWS / "python"))


class FakeModels(ModuleType):
    """Stands for `langchain.chat_models`: every model answers "Written by <name>, <n>."."""

    def __init__(self) -> None:
        super().__init__("langchain.chat_models")
        self.calls = 0

    def init_chat_model(self, name: str) -> GenericFakeChatModel:
        self.calls += 1
        return GenericFakeChatModel(messages=self._answers(name))

    def _answers(self, name: str) -> Iterator[AIMessage]:
        yield AIMessage(f"Written by {name}, {self.calls}.")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREWLINE_MODEL", raising=False)


@pytest.fixture
def fake_models(monkeypatch: pytest.MonkeyPatch) -> FakeModels:
    models = FakeModels()
    monkeypatch.setitem(sys.modules, "langchain", ModuleType("langchain"))
    monkeypatch.setitem(sys.modules, "langchain.chat_models", models)
    monkeypatch.setenv("CREWLINE_MODEL", "fake:writer")
    return models
