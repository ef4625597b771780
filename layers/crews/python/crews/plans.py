"""Plans: what a plan is made of, how one is drafted from a playbook, and how each section is written."""

import re
import tomllib
from collections.abc import Callable, Sequence
from typing import Any, Literal

from typing_extensions import TypedDict  # pydantic makes JSON schemas of this one before Python 3.12 too

from crews import documents

Detail = Literal["short", "normal", "full"]


class Phase(TypedDict):
    """A part of the project: what is done, by whom, and what comes out of it."""

    name: str
    weeks: int
    result: str
    tasks: list[str]
    work: dict[str, int]  # days by role
    purchases: dict[str, int]  # EUR by item


class Risk(TypedDict):
    """What may go wrong, what we do about it and how we notice it early."""

    risk: str
    response: str
    sign: str


class PlanSection(TypedDict):
    """A section as it stands in the plan: its text, and how detailed that is."""

    name: str
    detail: Detail
    text: str


class Plan(TypedDict):
    """A plan: the facts (goal, phases, risks) and the sections written from them."""

    subject: str
    focus: str
    goal: str
    phases: list[Phase]
    rates: dict[str, int]  # EUR per day by role
    risks: list[Risk]
    sections: list[PlanSection]


def draft(subject: str, request: str) -> Plan:
    """Draft a plan from the playbook that fits the request; its sections are not written yet.

    Args:
        subject: What the plan is for; empty for the proposal that ships with the crews.
        request: The words of the request, from which the playbook is chosen.
    """
    book = tomllib.loads((documents.TEXTS / "playbooks.toml").read_text(encoding="utf-8"))
    playbook = _choose(book["playbooks"], request)
    goal: str = playbook["goal"]
    if subject:
        subject = subject[0].upper() + subject[1:]
        goal = f"{subject}: {goal}"
    else:
        title, proposal, *_ = documents.split(documents.load(book["default_subject"]))
        subject = title["title"]
        goal = f"{documents.sentences(proposal['text'])[0]} {goal[0].upper()}{goal[1:]}"
    return {
        "subject": subject,
        "focus": "",
        "goal": goal,
        "phases": playbook["phases"],
        "rates": book["rates"],
        "risks": playbook["risks"],
        "sections": [],
    }


def focus_on(plan: Plan, focus: str) -> None:
    """Narrow a plan: the goal names the focus, and the first phase begins with drawing the line."""
    task = "Narrow the scope to {} and write down what is left for later"
    tasks = plan["phases"][0]["tasks"]
    if plan["focus"]:
        tasks.remove(task.format(plan["focus"]))
    tasks.insert(0, task.format(focus))
    plan["focus"] = focus


def weeks(plan: Plan) -> int:
    """Count the weeks from the first phase to the last; phases follow one another."""
    return sum(phase["weeks"] for phase in plan["phases"])


def total(plan: Plan) -> int:
    """Add up the budget in EUR: the work and purchases of every phase, and a contingency of 10 %."""
    costs = _costs(plan)
    return costs + costs // 10


def render(plan: Plan) -> str:
    """Write the whole plan as markdown, its sections in their usual order."""
    parts = [f"# Plan: {plan['subject']}"]
    parts += [f"## {section['name'].capitalize()}\n\n{section['text']}" for section in plan["sections"]]
    return "\n\n".join(parts)


def _goal(plan: Plan, detail: Detail) -> str:
    text = plan["goal"]
    if plan["focus"]:
        text += f" The focus is on {plan['focus']}; everything else waits for a later plan."
    if detail == "full":
        results = "\n".join(f"- {phase['result']}" for phase in plan["phases"])
        text += f"\n\nAfter {weeks(plan)} weeks there are:\n\n{results}"
    return text


def _phases(plan: Plan, detail: Detail) -> str:
    parts = []
    for number, phase in enumerate(plan["phases"], start=1):
        if detail == "short":
            parts.append(f"{number}. {phase['name']} ({_count(phase['weeks'], 'week')}): {phase['result']}")
            continue
        lines = [f"### {number}. {phase['name']} ({_count(phase['weeks'], 'week')})", ""]
        lines += [f"- {task}" for task in phase["tasks"]]
        lines += ["", f"Result: {phase['result']}."]
        if detail == "full":
            work = ", ".join(f"{role} {_count(days, 'day')}" for role, days in phase["work"].items())
            lines += ["", f"Work: {work}."]
        parts.append("\n".join(lines))
    return ("\n" if detail == "short" else "\n\n").join(parts)


def _timeline(plan: Plan, detail: Detail) -> str:
    spans, tasks, start = [], [], 1
    for phase in plan["phases"]:
        length, number = phase["weeks"], len(phase["tasks"])
        spans.append((_span(start, start + length - 1), phase["name"], phase["result"]))
        for index, task in enumerate(phase["tasks"]):  # spread evenly; a short phase does several in one week
            first, next_first = (start + i * length // number for i in (index, index + 1))
            tasks.append((_span(first, max(first, next_first - 1)), phase["name"], task))
        start += length
    if detail == "short":
        return f"{weeks(plan)} weeks: " + ", ".join(f"{name} ({span})" for span, name, _ in spans) + "."
    if detail == "normal":
        return _table(("Weeks", "Phase", "Ends with"), spans)
    return _table(("Weeks", "Phase", "Task"), tasks)


def _budget(plan: Plan, detail: Detail) -> str:
    if detail == "short":
        return f"EUR {total(plan):,}, a contingency of 10 % included."
    contingency, everything = f"{_costs(plan) // 10:,}", f"**{total(plan):,}**"
    if detail == "normal":
        sums = [(phase["name"], f"{_cost(plan, phase):,}") for phase in plan["phases"]]
        return _table(
            ("Phase", "EUR"), [*sums, ("Contingency, 10 %", contingency), ("**Total**", everything)]
        )
    rows: list[tuple[str, ...]] = []
    for phase in plan["phases"]:
        for role, days in phase["work"].items():
            rate = plan["rates"][role]
            rows.append((phase["name"], role, f"{_count(days, 'day')} at {rate}", f"{days * rate:,}"))
        rows += [(phase["name"], item, "lump sum", f"{cost:,}") for item, cost in phase["purchases"].items()]
        rows.append((f"*{phase['name']}, sum*", "", "", f"*{_cost(plan, phase):,}*"))
    rows += [("Contingency, 10 %", "", "", contingency), ("**Total**", "", "", everything)]
    return _table(("Phase", "Item", "Quantity", "EUR"), rows)


def _team(plan: Plan, detail: Detail) -> str:
    rows = []
    for role in sorted({role for phase in plan["phases"] for role in phase["work"]}):
        days = {phase["name"]: phase["work"][role] for phase in plan["phases"] if role in phase["work"]}
        rows.append((role, str(sum(days.values())), ", ".join(f"{name} {n}" for name, n in days.items())))
    if detail == "short":
        return ", ".join(f"{role} {days}" for role, days, _ in rows) + " (days)."
    if detail == "normal":
        return _table(("Role", "Days"), [row[:2] for row in rows])
    return _table(("Role", "Days", "By phase"), rows)


def _risks(plan: Plan, detail: Detail) -> str:
    if detail == "short":
        return "\n".join(f"- {risk['risk']}" for risk in plan["risks"])
    lines = []
    for risk in plan["risks"]:
        sign = f" Early sign: {risk['sign']}." if detail == "full" else ""
        lines.append(f"- **{risk['risk']}**: {risk['response']}.{sign}")
    return "\n".join(lines)


# In the order in which they stand in a plan.
WRITERS: dict[str, Callable[[Plan, Detail], str]] = {
    "goal": _goal,
    "phases": _phases,
    "timeline": _timeline,
    "budget": _budget,
    "team": _team,
    "risks": _risks,
}


def _choose(playbooks: dict[str, Any], request: str) -> dict[str, Any]:
    """Take the playbook one of whose words comes first in the request, or the pilot."""
    best, first = playbooks["pilot"], len(request)
    for playbook in playbooks.values():
        for word in playbook["words"]:
            found = re.search(rf"\b{word}s?\b", request, re.IGNORECASE)
            if found and found.start() < first:
                best, first = playbook, found.start()
    chosen: dict[str, Any] = best
    return chosen


def _cost(plan: Plan, phase: Phase) -> int:
    work = sum(days * plan["rates"][role] for role, days in phase["work"].items())
    return work + sum(phase["purchases"].values())


def _costs(plan: Plan) -> int:
    return sum(_cost(plan, phase) for phase in plan["phases"])


def _span(first: int, last: int) -> str:
    return f"{first}-{last}" if last > first else f"{first}"


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
