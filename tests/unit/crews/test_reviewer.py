from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from crews import documents
from crews.findings import Decision, Finding, Measures
from crews.reviewer import builder
from tests.unit.crews.conftest import FakeModels

THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}
LIBRARY = {"document_name": "evening-library"}


class Reviewer:
    """The real graph on one thread."""

    def __init__(self) -> None:
        self.graph: Any = builder.compile(checkpointer=InMemorySaver())

    def review(self, **values: str) -> dict[str, Any]:
        """Review until the question to the person, and return the question."""
        question: dict[str, Any] = self.graph.invoke(values, THREAD)["__interrupt__"][0].value
        return question

    def answer(self, value: Any) -> dict[str, Any]:
        return dict(self.graph.invoke(Command(resume=value), THREAD))

    @property
    def values(self) -> dict[str, Any]:
        return dict(self.graph.get_state(THREAD).values)


@pytest.fixture
def reviewer() -> Reviewer:
    return Reviewer()


def test_it_asks_a_person_with_the_findings_and_the_options(reviewer: Reviewer) -> None:
    question = reviewer.review(**LIBRARY)
    assert question["question"] == 'Publish the review of "Evening opening at Harbour Street Library"?'
    assert question["summary"] == reviewer.values["summary"]
    assert [option for option in question["options"] if isinstance(option, str)] == ["approve", "reject"]
    severities = [finding["severity"] for finding in question["findings"]]
    assert severities == sorted(severities, key=["high", "medium", "low"].index)
    assert question["findings"][2] == {
        "id": "actions-3",
        "severity": "high",
        "section": "Next steps",
        "problem": "An action without owner and date.",
        "quote": "Change the programme of ventilation and lights.",
    }
    assert reviewer.values["report"] is None


def test_the_checks_run_in_one_superstep(reviewer: Reviewer) -> None:
    reviewer.review(**LIBRARY)
    history = list(reviewer.graph.get_state_history(THREAD))
    steps = [{task.name for task in state.tasks} for state in reversed(history)]
    checks = {"measure", "style", "vagueness", "terms", "actions"}
    assert steps == [{"__start__"}, {"read"}, checks, {"summarise"}, {"approve"}]


def test_the_state_keeps_its_types_while_it_waits(reviewer: Reviewer) -> None:
    reviewer.review(**LIBRARY)
    assert all(isinstance(finding, Finding) for finding in reviewer.values["findings"])
    assert isinstance(reviewer.values["measures"], Measures)
    assert not {"document", "document_name"} & reviewer.values.keys()


def test_approval_publishes_all_findings(reviewer: Reviewer) -> None:
    question = reviewer.review(**LIBRARY)
    result = reviewer.answer("approve")
    assert result["decision"] == Decision(approve=True)
    assert result["report"].startswith('# Review of "Evening opening at Harbour Street Library"')
    assert all(f"**{finding['id']}**" in result["report"] for finding in question["findings"])


def test_a_person_may_drop_findings_and_leave_a_note(reviewer: Reviewer) -> None:
    question = reviewer.review(**LIBRARY)
    result = reviewer.answer({"approve": True, "drop": ["actions-1", "vague-2"], "note": "Good draft."})
    assert "**actions-1**" not in result["report"]
    assert "**actions-2**" in result["report"]
    assert "Note from the reviewer: Good draft." in result["report"]
    assert "Left out on approval: actions-1, vague-2." in result["report"]
    assert result["summary"].startswith(f"{len(question['findings']) - 2} findings")


@pytest.mark.parametrize("answer", ["reject", {"approve": False, "note": "Not now."}])
def test_a_rejected_review_has_no_report(reviewer: Reviewer, answer: Any) -> None:
    reviewer.review(**LIBRARY)
    result = reviewer.answer(answer)
    assert result["report"] is None
    assert not result["decision"].approve
    assert not reviewer.graph.get_state(THREAD).next


@pytest.mark.parametrize("answer", ["perhaps", 1, {"aprove": True}, {"approve": True, "drop": ["style-99"]}])
def test_an_answer_that_is_no_decision_is_asked_again(reviewer: Reviewer, answer: Any) -> None:
    reviewer.review(**LIBRARY)
    question = reviewer.answer(answer)["__interrupt__"][0].value
    assert question["problem"] == f"This is none of the options: {answer!r}"
    assert reviewer.answer("approve")["report"]


def test_a_second_review_on_the_thread_begins_anew(reviewer: Reviewer) -> None:
    first = reviewer.review(**LIBRARY)
    reviewer.answer("approve")
    assert reviewer.review(**LIBRARY) == first
    assert reviewer.answer("reject")["report"] is None


@pytest.mark.parametrize("name", documents.names())
def test_each_shipped_text_gives_findings_of_every_kind(name: str) -> None:
    findings = Reviewer().review(document_name=name)["findings"]
    kinds = {finding["id"].split("-")[0] for finding in findings}
    assert kinds == {"style", "vague", "terms", "actions"}
    assert 15 <= len(findings) <= 30
    text = " ".join(documents.load(name).split())
    assert all(finding["quote"].strip("… ") in text for finding in findings)


@pytest.mark.parametrize("name", documents.names())
def test_the_same_text_gives_the_same_report(name: str) -> None:
    one, two = Reviewer(), Reviewer()
    assert one.review(document_name=name) == two.review(document_name=name)
    assert one.answer("approve")["report"] == two.answer("approve")["report"]


def test_it_reviews_a_text_of_ones_own(reviewer: Reviewer) -> None:
    reviewer.review(
        document="The XQZ is fast.\n\n## Actions\n\n- Ada Byron tests it by 2030-01-31.\n- Ship it soon."
    )
    found = {finding.id: finding for finding in reviewer.values["findings"]}
    assert set(found) == {"actions-1", "terms-1", "vague-1"}
    assert found["actions-1"].quote == "Ship it soon."
    assert found["terms-1"].problem == "XQZ is not explained."


def test_a_flawless_text_has_no_findings(reviewer: Reviewer) -> None:
    question = reviewer.review(document="# Note\n\nThe service level (SLO) holds. We meet on 4 May.")
    assert question["findings"] == []
    assert "No findings" in reviewer.answer("approve")["report"]


def test_an_unknown_name_is_an_error_that_lists_the_names(reviewer: Reviewer) -> None:
    with pytest.raises(
        ValueError, match="no shipped text named 'nope'; choose one of: evening-library, stock-counts"
    ):
        reviewer.review(document_name="nope")


@pytest.mark.parametrize("values", [{}, {"document": "  "}])
def test_no_document_is_an_error_that_says_what_to_give(reviewer: Reviewer, values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="Give a text as 'document', or name a shipped one"):
        reviewer.graph.invoke({"document_name": "", **values}, THREAD)


def test_a_model_writes_the_summary_and_leaves_the_findings(
    reviewer: Reviewer, fake_models: FakeModels
) -> None:
    question = reviewer.review(**LIBRARY)
    assert question["summary"] == "Written by fake:writer, 1."
    assert len(question["findings"]) > 15
    assert "Written by fake:writer, 1." in reviewer.answer("approve")["report"]
