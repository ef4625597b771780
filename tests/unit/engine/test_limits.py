"""Runs that go too far: what ends them, what they keep, and what counts over claims and slices."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.errors import GraphRecursionError
from langgraph.graph import START, StateGraph

from crewline.engine.crews import Graph
from crewline.engine.executor import Executor
from crewline.engine.slices import ENDING_S
from crewline.errors import LimitExceeded, StaleOwner
from crewline.models.leases import LEASE_MS, Claim, Continues
from crewline.models.limits import Guards, LimitsPolicy, Price
from crewline.models.runs import RunCreate, Usage
from crewline.services.runs import Admitted
from crewline.store import leases
from tests.unit.engine.places import PATIENCE_S, Counting, Place, chain, step
from tests.unit.services.crashes import Stopped
from tests.unit.store.worlds import TENANT, claimed

CHEAP, DEAR = "small-1", "large-1"
PRICES = {CHEAP: Price(input=0.5, output=1), DEAR: Price(input=100, output=500)}
SYNC = {"durability": "sync"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crewline.services.endings.time.sleep", lambda _seconds: None)


class Guarded:
    """A place whose project has limits."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.calls = 0

    def execute(self, started: Admitted, *, ends: float | None = None, **limits: Any) -> Any:
        """Execute a claimed run in a process whose manifest says this."""
        guards = Guards(limits=LimitsPolicy.model_validate(limits), prices=PRICES)
        around = replace(self.place.around, guards=guards, monotonic=lambda: 0.0)
        return (
            Executor(around, self.place.loop)
            .execute(started.run, claimed(started), ends=ends)
            .result(PATIENCE_S)
        )

    def run(self, given: Any = None, *, body: dict[str, Any] | None = None, **limits: Any) -> Any:
        return self.execute(self.place.start(given, **(body or {})), **limits)

    def ask(self, model: str = CHEAP, *, tokens: tuple[int, int] = (60, 40)) -> str:
        """Call a model through LangChain."""
        used: Any = dict(
            zip(("input_tokens", "output_tokens", "total_tokens"), (*tokens, sum(tokens)), strict=True)
        )
        answer = AIMessage("hi", usage_metadata=used, response_metadata={"model_name": model})
        said = GenericFakeChatModel(messages=iter([answer])).invoke("?").text
        self.calls += 1
        return said

    def asking(self, *more: Any) -> Any:
        return lambda state: {"n": state.get("n", 0) + 1, "log": [self.ask(*more)]}


@pytest.fixture
def guarded(place: Place) -> Guarded:
    return Guarded(place)


def loop(node: Callable[..., Any]) -> Graph:
    """A graph that never comes to its end."""
    graph = StateGraph(Counting)
    graph.add_node("again", node)
    graph.add_edge(START, "again")
    graph.add_edge("again", "again")
    return graph.compile()


def failed(answer: Any) -> tuple[str, str]:
    return answer["__error__"]["error"], answer["__error__"]["message"]


# ------------------------------------------------------------------ tokens


def test_a_loop_ends_at_the_limit_of_its_tokens_and_keeps_what_was_done(
    place: Place, guarded: Guarded
) -> None:
    place.serve(loop(guarded.asking()))
    error, message = failed(guarded.run({"n": 0}, tokens=250))
    run = place.last()
    assert error == "TokenLimit"
    assert message.startswith(f"Run {run.run_id} has used 300 tokens, and may use 250; ")
    assert (run.status, run.error and run.error.message, guarded.calls) == ("error", message, 3)
    assert run.usage == Usage(input_tokens=180, output_tokens=120, micro_usd=210)
    row = place.thread_row()
    assert (row["status"], row["values"]["n"], place.state()["next"]) == ("error", 2, ["again"])
    place.serve(chain(again=step("done")))
    assert guarded.run(None)["log"] == ["hi", "hi", "done"]


def test_a_run_may_use_exactly_as_many_tokens_as_its_limit(place: Place, guarded: Guarded) -> None:
    place.serve(chain(a=guarded.asking(), b=guarded.asking()))
    assert guarded.run({"n": 0}, tokens=200)["n"] == 2


def test_a_node_that_goes_on_in_its_thread_calls_no_model_any_more(place: Place, guarded: Guarded) -> None:
    refused: list[BaseException] = []
    over = threading.Event()

    def stubborn(state: Counting) -> dict[str, Any]:
        for _ in range(5):
            try:
                guarded.ask()
            except LimitExceeded as exc:
                refused.append(exc)
        over.set()
        return {"log": ["never seen"]}

    place.serve(chain(stubborn=stubborn))
    assert failed(guarded.run({"n": 0}, tokens=150))[0] == "TokenLimit"
    assert over.wait(PATIENCE_S)
    assert (guarded.calls, len(refused)) == (2, 3)


def test_a_node_that_was_given_up_in_its_thread_calls_no_model_any_more(
    place: Place, guarded: Guarded
) -> None:
    refused: list[BaseException] = []
    given_up, over = threading.Event(), threading.Event()

    def stubborn(state: Counting) -> dict[str, Any]:
        given_up.wait(PATIENCE_S)
        try:
            guarded.ask()
        except StaleOwner as exc:
            refused.append(exc)
        over.set()
        return {"log": ["never seen"]}

    place.serve(chain(stubborn=stubborn))
    assert failed(guarded.execute(place.start({"n": 0}), ends=ENDING_S + 0.5))[0] == "NodeTimeout"
    given_up.set()
    assert over.wait(PATIENCE_S)
    assert (guarded.calls, len(refused)) == (0, 1)


def test_what_runs_beside_the_call_that_crosses_the_limit_is_stopped_at_once(
    place: Place, guarded: Guarded
) -> None:
    stopped: list[str] = []

    async def waiting(state: Counting) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append("waiting")
        return {}

    graph = StateGraph(Counting)
    graph.add_node("ask", guarded.asking())
    graph.add_node("waiting", waiting)
    graph.add_edge(START, "ask")
    graph.add_edge(START, "waiting")
    place.serve(graph.compile())
    assert failed(guarded.run({"n": 0}, tokens=50))[0] == "TokenLimit"
    assert stopped == ["waiting"]


def test_the_tokens_of_a_claim_before_count(place: Place, guarded: Guarded) -> None:
    def dying(state: Counting) -> dict[str, Any]:
        raise Stopped

    place.serve(chain(a=guarded.asking(), b=dying))
    started = place.start({"n": 0}, **SYNC)
    with pytest.raises(Stopped):
        guarded.execute(started, tokens=150)
    place.serve(chain(a=guarded.asking(), b=guarded.asking(), c=step("c")))
    error, message = failed(guarded.execute(place.take_over(started), tokens=150))
    assert error == "TokenLimit"
    assert "has used 200 tokens, and may use 150" in message
    assert place.thread_row()["values"]["n"] == 1


def test_a_run_that_crossed_its_limit_before_its_worker_died_does_nothing_more(
    place: Place, guarded: Guarded
) -> None:
    place.serve(chain(a=guarded.asking(), b=guarded.asking()))
    started = place.start({"n": 0})
    lease = replace(claimed(started).lease, input_tokens=151)
    answer = guarded.execute(replace(started, claim=replace(claimed(started), lease=lease)), tokens=150)
    assert failed(answer)[0] == "TokenLimit"
    assert guarded.calls == 0


def test_the_tokens_of_a_slice_before_count_also_when_its_node_was_given_up(
    place: Place, guarded: Guarded
) -> None:
    async def asking_for_ever(state: Counting) -> dict[str, Any]:
        await asyncio.to_thread(guarded.ask)
        await asyncio.Event().wait()
        return {}

    place.serve(chain(a=step("a"), b=asking_for_ever))
    started = place.start({"n": 0})
    first = guarded.execute(started, ends=ENDING_S + 1, tokens=150)
    assert isinstance(first, Continues)
    assert first.claim.lease.usage == Usage(input_tokens=60, output_tokens=40, micro_usd=70)
    assert leases.from_item(place.world.lease(place.thread)) == first.claim.lease
    claim = place.world.leases.claim(TENANT, place.thread, started.run.run_id, execution=1)
    assert isinstance(claim, Claim)
    again = Admitted(run=place.row(started.run), claim=claim)
    assert failed(guarded.execute(again, ends=ENDING_S + 60, tokens=150))[0] == "TokenLimit"


# ------------------------------------------------------------------ dollars


def test_a_run_ends_at_the_limit_of_its_cost(place: Place, guarded: Guarded) -> None:
    place.serve(chain(a=guarded.asking(), b=guarded.asking(DEAR), c=guarded.asking()))
    error, message = failed(guarded.run({"n": 0}, usd=0.02))
    run = place.last()
    assert error == "CostLimit"
    # 60 at 0.5 and 40 at 1 millionth, then 60 at 100 and 40 at 500.
    assert f"Run {run.run_id} has cost 0.026070 dollars, and may cost 0.020000; " in message
    assert run.usage == Usage(input_tokens=120, output_tokens=80, micro_usd=26_070)
    assert run.wire()["usage"] == {
        "input_tokens": 120,
        "output_tokens": 80,
        "total_tokens": 200,
        "usd": 0.02607,
    }


@pytest.mark.parametrize("date", ["-20260102", "-2026-01-02", "@20260102"])
def test_a_model_with_a_date_behind_its_name_has_the_price_of_its_name(
    place: Place, guarded: Guarded, date: str
) -> None:
    place.serve(chain(a=guarded.asking(f"{DEAR}{date}")))
    assert failed(guarded.run({"n": 0}, usd=0.02))[0] == "CostLimit"


def test_a_model_without_a_price_costs_nothing(place: Place, guarded: Guarded) -> None:
    place.serve(chain(a=guarded.asking("large-10")))
    assert guarded.run({"n": 0}, usd=0.02)["n"] == 1
    assert place.last().usage == Usage(input_tokens=60, output_tokens=40)


# ------------------------------------------------------------------ supersteps


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_loop_ends_at_the_limit_of_its_supersteps(place: Place, guarded: Guarded, durability: str) -> None:
    place.serve(loop(step("again")))
    error, message = failed(guarded.run({"n": 0}, body={"durability": durability}, supersteps=7))
    assert error == "SuperstepLimit"
    assert "has made 7 supersteps, as many as it may; " in message
    row = place.thread_row()
    assert (row["status"], row["values"]["n"]) == ("error", 7)


def test_a_run_that_stays_within_its_limit_comes_to_its_end(place: Place, guarded: Guarded) -> None:
    place.serve(chain(a=step("a"), b=step("b")))
    assert guarded.run({"n": 0}, supersteps=3)["n"] == 2


def test_a_loop_in_a_subgraph_ends_there(place: Place, guarded: Guarded) -> None:
    outer = StateGraph(Counting)
    outer.add_node("inner", loop(step("again")))
    outer.add_edge(START, "inner")
    place.serve(outer.compile())
    assert failed(guarded.run({"n": 0}, supersteps=7))[0] == "SuperstepLimit"


def test_the_supersteps_of_a_claim_before_count(place: Place, guarded: Guarded) -> None:
    def dying(state: Counting) -> dict[str, Any]:
        if state["n"] == 3 and not died:
            died.append(3)
            raise Stopped
        return {"n": state["n"] + 1}

    died: list[int] = []
    place.serve(loop(dying))
    started = place.start({"n": 0}, **SYNC)
    with pytest.raises(Stopped):
        guarded.execute(started, supersteps=5)
    assert failed(guarded.execute(place.take_over(started), supersteps=5))[0] == "SuperstepLimit"
    assert place.thread_row()["values"]["n"] == 5


def test_a_run_that_has_made_all_its_supersteps_before_makes_none(place: Place, guarded: Guarded) -> None:
    def dying(state: Counting) -> dict[str, Any]:
        if state["n"] == 3:
            raise Stopped
        return {"n": state["n"] + 1}

    place.serve(loop(dying))
    started = place.start({"n": 0}, **SYNC)
    with pytest.raises(Stopped):
        guarded.execute(started, supersteps=5)
    assert failed(guarded.execute(place.take_over(started), supersteps=3))[0] == "SuperstepLimit"


def test_what_the_caller_asked_of_langgraph_is_langgraphs_error(place: Place, guarded: Guarded) -> None:
    place.serve(loop(step("again")))
    answer = guarded.run({"n": 0}, body={"config": {"recursion_limit": 5}}, supersteps=7)
    assert failed(answer)[0] == "GraphRecursionError"
    place.serve(loop(step("again")))
    answer = guarded.run({"n": 0}, body={"config": {"recursion_limit": 9}}, supersteps=7)
    assert failed(answer)[0] == "SuperstepLimit"


def test_a_limit_that_a_node_gave_to_another_graph_is_the_crews_own(place: Place, guarded: Guarded) -> None:
    def node(state: Counting) -> dict[str, Any]:
        loop(step("again")).invoke({"n": 0}, {"recursion_limit": 3})
        return {}

    place.serve(chain(node=node))
    assert failed(guarded.run({"n": 0}, supersteps=7))[0] == GraphRecursionError.__name__


# ------------------------------------------------------------------ time, and what a request says


def test_a_run_that_takes_longer_than_its_crew_may_ends_as_timeout(place: Place, guarded: Guarded) -> None:
    place.serve(chain(a=step("a")))
    started = place.start({"n": 0})
    place.clock.pass_(LEASE_MS + 60_000)
    error, message = failed(guarded.execute(place.take_over(started), crews={"echo": {"seconds": 60}}))
    assert (error, place.row(started.run).status) == ("RunTimeout", "timeout")
    assert "60 seconds" in message


def test_a_request_lowers_the_limits_of_its_run_in_its_metadata(place: Place, guarded: Guarded) -> None:
    place.serve(loop(guarded.asking()))
    body = {"metadata": {"crewline_limits": {"tokens": 100}}}
    assert "may use 100;" in failed(guarded.run({"n": 0}, body=body, tokens=250))[1]
    body = {"metadata": {"crewline_limits": {"tokens": 1_000}}}
    assert "may use 250;" in failed(guarded.run({"n": 0}, body=body, tokens=250))[1]


def test_a_stateless_run_in_its_request_has_limits_too(place: Place, guarded: Guarded) -> None:
    place.serve(loop(guarded.asking()))
    body = RunCreate.model_validate({"assistant_id": "echo", "input": {"n": 0}})
    started = place.world.runs.start_stateless(TENANT, body)
    assert failed(guarded.execute(started, tokens=250))[0] == "TokenLimit"
