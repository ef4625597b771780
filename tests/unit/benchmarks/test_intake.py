"""The benchmark of messages that become runs tells a run too many, one too few, and a letter that is not there."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from benchmarks.intake.__main__ import judge
from benchmarks.intake.messages import messages
from benchmarks.intake.stages import Handled
from benchmarks.reports import Verdict

SENT = list(messages(400, seed=1))
BAD = [(one.body, f"{one.reason}, and so on.") for one in SENT if one.reason]


def found() -> dict[str, list[int]]:
    """What the table has when all went well."""
    runs: dict[str, list[int]] = defaultdict(list)
    for one in SENT:
        if not one.reason and one.number not in runs[one.group]:
            runs[one.group].append(one.number)
    return runs


def missed(verdicts: list[Verdict]) -> list[str]:
    return [one.line for one in verdicts if not one.kept]


def test_what_is_sent_is_mixed_as_the_benchmark_says() -> None:
    counts = Counter(one.number for one in SENT)
    assert len(counts) == 400
    assert len(BAD) == 4
    assert 0 < counts.total() - 400 < 40
    assert len({one.body for one in SENT}) == 400


def test_all_is_well_when_every_message_is_where_it_belongs() -> None:
    assert missed(judge(SENT, found(), BAD, Handled())) == []


@pytest.mark.parametrize("change", ["lost", "twice", "foreign"])
def test_a_run_too_few_or_too_many_is_told(change: str) -> None:
    runs = found()
    first = runs["customer-0"]
    match change:
        case "lost":
            first.pop()
        case "twice":
            first.append(first[-1])
        case "foreign":
            first.append(-1)
    assert missed(judge(SENT, runs, BAD, Handled())) == [
        "every good message is one run",
        "the runs of a thread have its order",
    ]


def test_runs_in_another_order_are_told() -> None:
    runs = found()
    runs["customer-0"].reverse()
    assert missed(judge(SENT, runs, BAD, Handled())) == ["the runs of a thread have its order"]


def test_a_dead_letter_that_is_lost_twice_or_wrong_is_told() -> None:
    line = "every bad message is one dead letter"
    assert missed(judge(SENT, found(), BAD[1:], Handled())) == [line]
    assert missed(judge(SENT, found(), [*BAD, BAD[0]], Handled())) == [line]
    wrong = [(BAD[0][0], ""), *BAD[1:]]
    assert missed(judge(SENT, found(), wrong, Handled())) == ["each says why"]


def test_a_queue_that_was_not_emptied_in_time_is_told() -> None:
    assert missed(judge(SENT, found(), BAD, Handled(unfinished=True))) == ["the queue was emptied"]
