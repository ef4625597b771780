import os
import sys
import time

import pytest

from benchmarks.reports import Verdict, exit_code
from benchmarks.runs.judgements import judge_figures, judge_turns, judge_waits
from benchmarks.runs.latencies import Figures, latency_rows, quantile
from benchmarks.runs.servers import process_cpu_ms
from benchmarks.runs.traces import Request
from benchmarks.runs.turns import Turn, Wait


def _requests(count: int, *, units: int = 0) -> list[Request]:
    return [
        Request(
            process="worker",
            service="dynamodb",
            operation="Query",
            touched=[],
            began=10 * place,
            ended=10 * place + 5,
            table_units=units,
            index_units=1,
        )
        for place in range(count)
    ]


def _figures(p50: float, cpu: float, **parts: float) -> Figures:
    return Figures([p50], [], {"server": [cpu], **{whose: [spent] for whose, spent in parts.items()}})


def _kept(verdicts: list[Verdict]) -> list[bool | None]:
    return [verdict.kept for verdict in verdicts]


def test_only_requests_before_the_answer_are_waited_for() -> None:
    late = Wait(began=0, ended=15, requests=_requests(4))
    assert _kept(judge_waits(late, late)) == [True, True]
    slow = Wait(began=0, ended=99, requests=_requests(4))
    assert _kept(judge_waits(slow, slow)) == [False, False]


def test_the_dearest_run_of_a_window_decides() -> None:
    turns = [Turn(1, _requests(13)), Turn(10, _requests(2, units=20)), Turn(50, _requests(12, units=2))]
    # Turn 10: 42 units in itself, 13 requests in the first turn; turn 50: 36 units, 12 requests.
    assert _kept(judge_turns(turns, (10, 50))) == [False, False, True, True]


def test_figures_are_held_against_the_peers() -> None:
    peers = {"skeino": _figures(4, 3), "langgraph dev": _figures(1_000, 8)}
    good = {"crewline": _figures(20, 6, boto3=2, cloud=9), **peers}
    assert _kept(judge_figures(good, {})) == [True, True]
    bad = {"crewline": _figures(20.1, 6.1, boto3=2, cloud=9), **peers}
    assert _kept(judge_figures(bad, {})) == [False, False]


def test_a_peer_that_is_missing_leaves_its_budget_open_and_has_an_empty_row() -> None:
    missing = {"skeino": "no index", "langgraph dev": "too old"}
    figures = {"crewline": _figures(20, 6, boto3=2, cloud=9)}
    verdicts = judge_figures(figures, missing)
    assert _kept(verdicts) == [None, None]
    assert [verdict.measured for verdict in verdicts] == ["no index", "too old"]
    assert exit_code(verdicts) == 0
    rows = latency_rows(figures, missing)
    assert [row[0] for row in rows] == ["server", "crewline", "skeino", "langgraph dev"]
    assert {len(row) for row in rows} == {7}


def test_a_missed_budget_fails() -> None:
    assert exit_code([Verdict("a", True, ""), Verdict("b", False, "")]) == 1


def test_a_quantile_is_a_value_that_was_measured() -> None:
    values = [float(count) for count in range(1, 21)]
    assert quantile(values, 0.95) == 19
    assert quantile(values, 1) == 20
    assert quantile([7.0], 0.95) == 7


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems have no such clock")
def test_the_cpu_of_a_process_is_that_which_it_tells_of_itself() -> None:
    before = time.process_time_ns() / 1e6
    told = process_cpu_ms(os.getpid())
    assert before <= told <= time.process_time_ns() / 1e6
