"""The planner: a crew that writes a plan and refines it turn by turn on one thread.

    "Generate a plan for AI agents in logistics"  →  "Make the budget section more detailed"  →  "Add a timeline"

Every turn starts from the plan that the last one left in the thread's state.
"""

import copy
import re
from typing import Annotated, Literal

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.channels import EphemeralValue
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

from crews import plans
from crews.plans import Detail, Plan
from crews.writing import write

Action = Literal["draft", "focus", "detail", "shorten", "remove", "add", "help"]

LEVELS: tuple[Detail, ...] = ("short", "normal", "full")
FIRST_SECTIONS = ["goal", "phases", "budget", "risks"]
PROSE = ("goal", "risks")  # a model may write these; what is computed stays computed

SECTION_WORDS = {
    "goal": "goals?|objectives?|aims?",
    "phases": "phases?|tasks?|steps?",
    "timeline": "timeline|schedule|calendar",
    "budget": "budget|costs?|money",
    "team": "team|people|roles?|staff",
    "risks": "risks?",
}
EDIT_WORDS: dict[Action, str] = {
    "detail": "details?|detailed|expand|elaborate|refine|break down",
    "shorten": "shorten|shorter|condense|trim|cut down|briefer",
    "remove": "remove|delete|drop|leave out",
    "add": "add|include",
}
CHANGES: dict[Action, str] = {
    "draft": "Here is a plan for {subject}",
    "focus": "The plan now focuses on {subject}",
    "detail": "More detailed now: {sections}",
    "shorten": "Shortened: {sections}",
    "remove": "Removed: {sections}",
    "add": "Added: {sections}",
}
DRAFT = r"\b(?:an?|another|new|generate) (?!shorter|briefer)(?:\w+ )?plan\b(?: (?:for|to|about|on|of) (?P<subject>.+))?"
STUDY = r"^(?:please |now )?(?:plan|research|study|investigate|explore|evaluate) (?P<subject>.+)"
FOCUS = r"\bfocus(?: more| only)? on (?P<subject>\w.*)"
HELP = """I write a plan and refine it with you, one message at a time. Try:

- Generate a plan for AI agents in logistics
- Make the budget section more detailed
- Add a timeline (or a team section)
- Focus on diagnostic applications
- Shorten the plan
- Remove the risks section"""


class Request(TypedDict):
    """What a message asks for."""

    action: Action
    subject: str
    sections: list[str]


class PlannerInput(TypedDict, total=False):
    """What a turn may bring: a chat, or a `message`, or just a `topic` to plan."""

    messages: Annotated[list[AnyMessage], add_messages]
    # Ephemeral: gone after the first node, so that no turn sees the message of an earlier one.
    message: Annotated[str, EphemeralValue(str)]
    topic: Annotated[str, EphemeralValue(str)]


class PlannerOutput(TypedDict, total=False):
    """What a turn answers: the conversation, and the plan as data."""

    messages: Annotated[list[AnyMessage], add_messages]
    plan: Plan


class PlannerState(PlannerInput, total=False):
    """What a thread remembers between turns."""

    plan: Plan
    request: Request
    change: str


def parse(text: str, plan: Plan | None) -> Request:
    """Read a message: which action it asks for, on what subject or which sections."""
    text = " ".join(text.split())
    if found := re.search(DRAFT, text, re.IGNORECASE):
        return {"action": "draft", "subject": _subject(found), "sections": FIRST_SECTIONS}
    if plan and (found := re.search(FOCUS, text, re.IGNORECASE)):
        return {"action": "focus", "subject": _subject(found), "sections": ["goal", "phases"]}
    if plan and (edit := _edit(text, plan)):
        return edit
    if found := re.search(STUDY, text, re.IGNORECASE):
        return {"action": "draft", "subject": _subject(found), "sections": FIRST_SECTIONS}
    return {"action": "help", "subject": "", "sections": []}


def understand(state: PlannerState) -> PlannerState:
    """Turn the input into a message of the conversation and find out what it asks for."""
    message = state.get("message") or (f"Generate a plan for {state['topic']}" if state.get("topic") else "")
    messages = state.get("messages", [])
    text = message or (messages[-1].text if messages and messages[-1].type == "human" else "")
    new: list[AnyMessage] = [HumanMessage(message)] if message else []
    return {"messages": new, "request": parse(text, state.get("plan")), "change": ""}


def revise(state: PlannerState) -> PlannerState:
    """Apply the request to the plan: every section that it does not touch stays as it is."""
    request = state["request"]
    action, subject, names = request["action"], request["subject"], request["sections"]
    if action == "draft":
        plan = plans.draft(subject, state["messages"][-1].text)
        subject = plan["subject"]
    else:
        plan = copy.deepcopy(state["plan"])
    if action == "focus":
        plans.focus_on(plan, subject)
    before = _texts(plan)
    details = {section["name"]: section["detail"] for section in plan["sections"]}
    for name in names:
        _set_section(plan, name, _wanted(action, details.get(name)))
    changed = [name for name in names if _texts(plan).get(name) != before.get(name)]
    if not changed:
        return {"change": f"Nothing to change in {', '.join(names)}"}
    return {"plan": plan, "change": CHANGES[action].format(subject=subject, sections=", ".join(changed))}


def answer(state: PlannerState) -> PlannerState:
    """Say what changed and show the whole plan, or say what the planner can do."""
    plan = state.get("plan")
    if plan is None or not state["change"]:
        question = state["messages"][-1].text if state.get("messages") else ""
        context = f"{question}\n\n{plans.render(plan)}" if plan else question
        task = "You plan projects. Answer the message briefly; a plan may follow it."
        return {"messages": [AIMessage(write(task, context, HELP))]}
    summary = f"{len(plan['phases'])} phases, {plans.weeks(plan)} weeks, EUR {plans.total(plan):,}"
    return {"messages": [AIMessage(f"{state['change']} ({summary}).\n\n{plans.render(plan)}")]}


def route(state: PlannerState) -> Literal["revise", "answer"]:
    """Skip the revision if the message asks for nothing that the planner does."""
    return "answer" if state["request"]["action"] == "help" else "revise"


def _subject(found: re.Match[str]) -> str:
    words = (found["subject"] or "").strip(" .!?\"'")
    return re.sub("^(?:an?|the) ", "", words, flags=re.IGNORECASE)


def _edit(text: str, plan: Plan) -> Request | None:
    action = next((action for action, words in EDIT_WORDS.items() if _mentions(text, words)), None)
    if action is None:
        return None
    sections = [name for name, words in SECTION_WORDS.items() if _mentions(text, words)]
    if not sections and action in ("detail", "shorten") and _mentions(text, "plan|it|everything"):
        sections = [section["name"] for section in plan["sections"]]
    return {"action": action, "subject": "", "sections": sections} if sections else None


def _mentions(text: str, words: str) -> bool:
    return re.search(rf"\b(?:{words})\b", text, re.IGNORECASE) is not None


def _wanted(action: Action, detail: Detail | None) -> Detail | None:
    """Say how detailed a section should be after an action; None stands for a section that is not there."""
    if action in ("draft", "add"):
        return detail or "normal"
    if action == "detail" and detail is None:
        return "full"
    if action == "remove" or detail is None:
        return None
    step = {"detail": 1, "shorten": -1}.get(action, 0)
    return LEVELS[min(max(LEVELS.index(detail) + step, 0), len(LEVELS) - 1)]


def _texts(plan: Plan) -> dict[str, str]:
    return {section["name"]: section["text"] for section in plan["sections"]}


def _set_section(plan: Plan, name: str, detail: Detail | None) -> None:
    """Write a section into its usual place of the plan, or take it out."""
    sections = {section["name"]: section for section in plan["sections"] if section["name"] != name}
    if detail is not None:
        text = plans.WRITERS[name](plan, detail)
        if name in PROSE:
            task = f"Rewrite the {name} section of this project plan, as markdown without a heading ({detail} length)."
            text = write(task, f"{plans.render(plan)}\n\nThe section's draft:\n\n{text}", text)
        sections[name] = {"name": name, "detail": detail, "text": text}
    plan["sections"] = [sections[name] for name in plans.WRITERS if name in sections]


builder = StateGraph(PlannerState, input_schema=PlannerInput, output_schema=PlannerOutput)
builder.add_node(understand)
builder.add_node(revise)
builder.add_node(answer)
builder.add_edge(START, "understand")
builder.add_conditional_edges("understand", route)
builder.add_edge("revise", "answer")
builder.add_edge("answer", END)
graph = builder.compile(name="planner")
