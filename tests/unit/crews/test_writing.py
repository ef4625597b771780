import sys

import pytest

from crews.writing import write
from tests.unit.crews.conftest import FakeModels


def test_without_a_model_the_fallback_is_the_answer() -> None:
    assert write("task", "text", "fallback") == "fallback"


def test_with_a_model_its_text_is_the_answer(fake_models: FakeModels) -> None:
    assert write("task", "text", "fallback") == "Written by fake:writer, 1."


def test_a_missing_langchain_is_one_sentence_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CREWLINE_MODEL", "anthropic:some-model")
    monkeypatch.setitem(sys.modules, "langchain", None)
    with pytest.raises(
        RuntimeError, match="add langchain and langchain-anthropic to the crew's dependencies"
    ):
        write("task", "text", "fallback")
