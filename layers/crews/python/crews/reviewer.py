"""The reviewer: a crew that reads a document from five sides at once and asks a person before it reports.

    read  →  measure, style, vagueness, terms, actions (in parallel)  →  summarise  →  approve (waits)  →  report

While it waits nothing runs: the thread keeps the findings until somebody answers, after a minute or a month.
"""

import operator
from collections import Counter
from typing import Annotated, Any, Literal

from langgraph.channels import EphemeralValue
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Overwrite, interrupt
from pydantic import ValidationError
from typing_extensions import TypedDict

from crews import checks, documents
from crews.documents import Section
from crews.findings import SEVERITIES, Decision, Finding, Measures
from crews.writing import write


class ReviewerInput(TypedDict, total=False):
    """What to review: a markdown text, or the name of one that ships with the crews."""

    # Ephemeral: gone after the first node; what stays are the sections.
    document: Annotated[str, EphemeralValue(str)]
    document_name: Annotated[str, EphemeralValue(str)]


class ReviewerOutput(TypedDict, total=False):
    """What a review leaves; a rejected one has no report."""

    title: str
    measures: Measures
    findings: Annotated[list[Finding], operator.add]
    summary: str
    decision: Decision | None
    report: str | None


class ReviewerState(ReviewerInput, ReviewerOutput, total=False):
    """What a review knows while it runs."""

    sections: list[Section]


def read(state: ReviewerState) -> dict[str, Any]:
    """Split the document into sections and clear away what an earlier review on this thread left.

    Raises:
        ValueError: There is no document, or no shipped text of the name.
    """
    text = state.get("document") or ""
    if not text.strip():
        name = state.get("document_name")
        if not name:
            choices = ", ".join(documents.names())
            raise ValueError(
                f"Give a text as 'document', or name a shipped one as 'document_name': {choices}."
            )
        text = documents.load(name)
    sections = documents.split(text)
    return {
        "title": sections[0]["title"],
        "sections": sections,
        "findings": Overwrite([]),  # a plain [] would be added to the findings of the earlier review
        "decision": None,
        "report": None,
    }


def measure(state: ReviewerState) -> ReviewerState:
    """Measure the text as a whole."""
    return {"measures": checks.measure(state["sections"])}


def style(state: ReviewerState) -> ReviewerState:
    """Look for sentences that are hard to read or name nobody who acts."""
    return {"findings": checks.style(state["sections"])}


def vagueness(state: ReviewerState) -> ReviewerState:
    """Look for words that leave open how much or when."""
    return {"findings": checks.vagueness(state["sections"])}


def terms(state: ReviewerState) -> ReviewerState:
    """Look for acronyms that nobody explains."""
    return {"findings": checks.terms(state["sections"])}


def actions(state: ReviewerState) -> ReviewerState:
    """Look for open points, and for actions without an owner or a date."""
    return {"findings": checks.actions(state["sections"])}


def summarise(state: ReviewerState) -> ReviewerState:
    """Draft the paragraph that opens the report."""
    return {"summary": _sum_up(state["title"], state["findings"])}


def approve(state: ReviewerState) -> Command[Literal["report", "__end__"]]:
    """Wait for a person's decision; an answer that cannot be understood is asked for again."""
    findings = _ranked(state["findings"])
    ids = [finding.id for finding in findings]
    question = {
        "question": f'Publish the review of "{state["title"]}"?',
        "summary": state["summary"],
        "findings": [
            f.model_dump(include={"id", "severity", "section", "problem", "quote"}) for f in findings
        ],
        "options": ["approve", "reject", {"approve": True, "drop": ids[-1:], "note": "a word to the author"}],
    }
    answer = interrupt(question)
    while (decision := _decide(answer, ids)) is None:
        answer = interrupt({**question, "problem": f"This is none of the options: {answer!r}"})
    return Command(update={"decision": decision}, goto="report" if decision.approve else "__end__")


def report(state: ReviewerState) -> ReviewerState:
    """Write the report: summary, measures, and the findings that were not dropped, the gravest first."""
    measures, decision = state["measures"], state["decision"] or Decision(approve=True)
    kept = [finding for finding in state["findings"] if finding.id not in decision.drop]
    summary = _sum_up(state["title"], kept) if decision.drop else state["summary"]
    blocks = [f'# Review of "{state["title"]}"', summary]
    if decision.note:
        blocks.append(f"Note from the reviewer: {decision.note}")
    blocks.append(
        f"The text has {measures.words} words in {measures.sections} sections, {measures.words_per_sentence} words "
        f"in an average sentence; {measures.passive_percent} % of the sentences are passive. "
        f"Its reading ease is {measures.reading_ease}, where 60 and more reads easily and under 30 is hard work."
    )
    for severity in SEVERITIES:
        group = [finding for finding in kept if finding.severity == severity]
        if group:
            blocks.append(f"## {severity.capitalize()} ({len(group)})")
        for finding in group:
            blocks.append(f"**{finding.id}** in {finding.section}: {finding.problem} {finding.advice}")
            blocks.append(f"> {finding.quote}")
    if decision.drop:
        blocks.append(f"Left out on approval: {', '.join(decision.drop)}.")
    return {"summary": summary, "report": "\n\n".join(blocks)}


def _sum_up(title: str, findings: list[Finding]) -> str:
    if not findings:
        return "No findings: nothing in this text needs to change."
    ranked = _ranked(findings)
    counts = Counter(finding.severity for finding in ranked)
    tally = ", ".join(f"{counts[severity]} {severity}" for severity in SEVERITIES if counts[severity])
    section, most = Counter(finding.section for finding in ranked).most_common(1)[0]
    summary = (
        f"{len(ranked)} {'finding' if len(ranked) == 1 else 'findings'} ({tally}), "
        f'{most} of them in "{section}". Begin with {ranked[0].id}: {ranked[0].problem}'
    )
    task = "Sum up this review for the document's author in at most four sentences, friendly and concrete."
    material = "\n".join(f"{f.id} ({f.severity}) {f.section}: {f.problem} {f.quote}" for f in ranked)
    return write(task, f"{title}\n\n{material}", summary)


def _decide(answer: Any, ids: list[str]) -> Decision | None:
    """Read a person's answer; None if it is no decision about these findings."""
    if answer in ("approve", "reject"):
        return Decision(approve=answer == "approve")
    try:
        decision = Decision.model_validate(answer)
    except ValidationError:
        return None
    return decision if set(decision.drop) <= set(ids) else None


def _ranked(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


CHECKS = (measure, style, vagueness, terms, actions)

builder = StateGraph(ReviewerState, input_schema=ReviewerInput, output_schema=ReviewerOutput)
builder.add_node(read)
builder.add_edge(START, "read")
for check in CHECKS:
    builder.add_node(check)
    builder.add_edge("read", check.__name__)
builder.add_node(summarise)
builder.add_edge([check.__name__ for check in CHECKS], "summarise")
builder.add_node(approve)
builder.add_edge("summarise", "approve")
builder.add_node(report)
builder.add_edge("report", END)
graph = builder.compile(name="reviewer")
