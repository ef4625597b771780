import re
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from crews import plans
from crews.planner import builder
from tests.unit.crews.conftest import FakeModels

THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}


class Planner:
    """The real graph on one thread."""

    def __init__(self) -> None:
        self.graph: Any = builder.compile(checkpointer=InMemorySaver())

    def __call__(self, message: str) -> str:
        return self.turn({"message": message})

    def turn(self, values: dict[str, Any]) -> str:
        answer: str = self.graph.invoke(values, THREAD)["messages"][-1].text
        return answer

    @property
    def values(self) -> dict[str, Any]:
        return dict(self.graph.get_state(THREAD).values)

    @property
    def plan(self) -> plans.Plan:
        plan: plans.Plan = self.values["plan"]
        return plan

    @property
    def sections(self) -> dict[str, str]:
        return {section["name"]: section["text"] for section in self.plan["sections"]}


@pytest.fixture
def planner() -> Planner:
    return Planner()


def rows(table: str) -> list[list[str]]:
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def amount(cell: str) -> int:
    return int(cell.replace(",", ""))


def test_three_turns_refine_one_plan(planner: Planner) -> None:
    planner("Generate a plan for AI agents in logistics")
    first = planner.sections
    planner("Make the budget section more detailed")
    second = planner.sections
    answer = planner("Add a timeline")
    third = planner.sections

    assert list(first) == ["goal", "phases", "budget", "risks"]
    assert list(third) == ["goal", "phases", "timeline", "budget", "risks"]
    assert second == {**first, "budget": second["budget"]}
    assert third == {**second, "timeline": third["timeline"]}
    assert len(second["budget"]) > len(first["budget"])
    assert all(text in answer for text in third.values())
    assert [message.type for message in planner.values["messages"]] == ["human", "ai"] * 3


@pytest.mark.parametrize(
    "subject", ["logistics", "research on bees", "a new app", "a summer party", "the move to Lyon"]
)
def test_every_budget_adds_up_before_and_after_it_is_detailed(planner: Planner, subject: str) -> None:
    planner(f"Generate a plan for {subject}")
    *phases, contingency, total = rows(planner.sections["budget"])
    assert [name for name, _ in phases] == [phase["name"] for phase in planner.plan["phases"]]
    assert amount(total[-1]) == sum(amount(cell) for _, cell in phases) + amount(contingency[-1])

    planner("Make the budget section more detailed")
    *lines, detailed_contingency, detailed_total = rows(planner.sections["budget"])
    assert (detailed_contingency[-1], detailed_total[-1]) == (contingency[-1], total[-1])
    for phase, cost in phases:
        items = [line for line in lines if line[0] == phase]
        sums = [line for line in lines if line[0] == f"{phase}, sum"]
        assert len(items) > 1
        assert sum(amount(line[-1]) for line in items) == amount(sums[0][-1]) == amount(cost)
        for line in items:
            if by_day := re.fullmatch(r"(\d+) days? at (\d+)", line[2]):
                assert int(by_day[1]) * int(by_day[2]) == amount(line[-1])


def test_the_timeline_lists_the_phases_week_by_week(planner: Planner) -> None:
    planner("Research AI agents in healthcare")
    planner("add a timeline")
    weeks = ["1", "2-5", "6-8", "9-10"]
    expected = [[span, p["name"], p["result"]] for span, p in zip(weeks, planner.plan["phases"], strict=True)]
    assert rows(planner.sections["timeline"]) == expected

    planner("add more detail to the timeline")
    tasks = rows(planner.sections["timeline"])
    assert [task for _, _, task in tasks] == [task for p in planner.plan["phases"] for task in p["tasks"]]
    assert tasks[-1][0] == "10"


def test_a_topic_is_a_request_for_a_plan(planner: Planner) -> None:
    answer = planner.turn({"topic": "AI agents in logistics"})
    assert "# Plan: AI agents in logistics" in answer
    assert planner.values["messages"][0].text == "Generate a plan for AI agents in logistics"


def test_a_chat_is_read_like_a_message(planner: Planner) -> None:
    planner.turn({"messages": [{"role": "user", "content": "Please write a project plan about beekeeping."}]})
    assert planner.plan["subject"] == "Beekeeping"


def test_without_a_subject_it_plans_the_proposal_that_ships(planner: Planner) -> None:
    answer = planner("generate a plan")
    assert "# Plan: Evening opening at Harbour Street Library" in answer
    assert planner.sections["goal"].startswith(
        "From September the library on Harbour Street stays open until 22:00"
    )


def test_the_crew_remembers_the_subject_when_the_focus_changes(planner: Planner) -> None:
    planner("Research AI agents in healthcare")
    planner("Now focus on diagnostic applications")
    answer = planner("Focus on triage.")
    assert "# Plan: AI agents in healthcare" in answer
    assert "The focus is on triage; " in planner.sections["goal"]
    assert "Narrow the scope to triage" in planner.sections["phases"]
    assert "diagnostic" not in answer


def test_shortening_and_detailing_are_steps_that_lead_back(planner: Planner) -> None:
    planner("Generate a plan")
    before = planner.sections
    assert planner("Shorten the plan").startswith("Shortened: phases, budget, risks")
    assert planner.sections["budget"].startswith("EUR 73,876")
    planner("make it more detailed")
    assert planner.sections == before


def test_a_section_is_removed_and_added_again(planner: Planner) -> None:
    planner("Generate a plan")
    before = planner.sections
    assert "## Risks" not in planner("Remove the risks section")
    planner("Add the risks section again")
    assert planner.sections == before


def test_the_team_section_counts_the_days_of_the_phases(planner: Planner) -> None:
    planner("Generate a plan")
    planner("Add a team section")
    days = {role: int(count) for role, count in rows(planner.sections["team"])}
    assert sum(days.values()) == sum(sum(phase["work"].values()) for phase in planner.plan["phases"])


def test_a_request_that_changes_nothing_says_so(planner: Planner) -> None:
    planner("Generate a plan")
    assert planner("Remove the timeline").startswith("Nothing to change in timeline")


@pytest.mark.parametrize("message", ["What is the weather?", "Add a poem", "Remove the plan", "Focus on ?"])
def test_an_unknown_request_leaves_the_plan_and_says_what_it_can_do(planner: Planner, message: str) -> None:
    planner("Generate a plan")
    before = planner.plan
    assert "Make the budget section more detailed" in planner(message)
    assert planner.plan == before


def test_a_shorter_plan_is_the_same_plan(planner: Planner) -> None:
    planner("Generate a plan for beekeeping")
    planner("I would like a shorter plan")
    assert planner.plan["subject"] == "Beekeeping"


@pytest.mark.parametrize("values", [{"message": "Add a timeline"}, {"message": ""}, {"messages": []}])
def test_without_a_plan_it_says_how_to_get_one(planner: Planner, values: dict[str, Any]) -> None:
    assert "Generate a plan for" in planner.turn(values)
    assert "plan" not in planner.values


def test_the_input_of_a_turn_does_not_reach_the_next_one(planner: Planner) -> None:
    planner.turn({"topic": "beekeeping"})
    assert not {"topic", "message"} & planner.values.keys()


def test_the_same_turns_give_the_same_plan() -> None:
    one, two = Planner(), Planner()
    for message in ("Generate a plan", "Make the budget section more detailed", "Add a timeline"):
        assert one(message) == two(message)
    assert one.plan == two.plan


def test_a_model_writes_the_prose_and_leaves_the_figures(planner: Planner, fake_models: FakeModels) -> None:
    planner("Generate a plan")
    assert planner.sections["goal"] == "Written by fake:writer, 1."
    assert planner.sections["risks"] == "Written by fake:writer, 2."
    assert amount(rows(planner.sections["budget"])[-1][-1]) == plans.total(planner.plan)
    assert planner("What is the weather?") == "Written by fake:writer, 3."
