"""Torture the product: `python -m tests.faults.torture --seed 1 --runs 3000 --seconds 660`."""

from __future__ import annotations

import argparse
import os
import pickle
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"  # before anything imports langgraph, which reads it then

from tests.faults.torture import clouds
from tests.faults.torture.chaos import Crowd
from tests.faults.torture.checker import check
from tests.faults.torture.facts import Facts, collect
from tests.faults.torture.plans import Place, Plan
from tests.faults.torture.streams import Tail
from tests.faults.torture.timelines import tell
from tests.faults.torture.violations import Violation

_MOST_OPEN: Final = 120
"""Accepted runs that have not ended, over which clients pause."""
_REST_S: Final = 120.0
"""How long the threads may take to become free, once nobody asks for anything any more."""
_TOLD: Final = 3
"""Threads whose story is told in full."""
_SHOWN: Final = 40
_LEAST_DONE: Final = 0.25
"""What part of the accepted runs succeeds at least."""


def main() -> int:
    """Torture, check, and say how it went."""
    plan, folder, kept, passing = _arguments()
    if kept:
        facts, done = pickle.loads(kept.read_bytes()), Counter[str]()
    else:
        with clouds.running(plan, folder) as place:
            facts, done = _torture(place)
        (folder / "facts.pickle").write_bytes(pickle.dumps(facts))
    violations = [*check(facts), *_idle(facts)]
    _report(plan, facts, done, violations)
    if passing and not violations:
        shutil.rmtree(folder)
    for thread in list(dict.fromkeys(one.thread for one in violations if one.thread))[:_TOLD]:
        path = folder / f"thread-{thread}.txt"
        path.write_text("\n".join(tell(facts, thread)) + "\n")
        _say(f"The story of thread {thread}: {path}")
    return 1 if violations else 0


def _idle(facts: Facts) -> Iterator[Violation]:
    """A torture in which hardly anything succeeds says nothing."""
    rows = [row for end in facts.threads.values() for row in end.runs.values()]
    done = sum(row["status"] == "success" for row in rows)
    if done < _LEAST_DONE * len(facts.accepted) or not done:
        text = f"{done} of {len(facts.accepted)} accepted runs succeeded"
        yield Violation("most runs succeed", "", text)


def _arguments() -> tuple[Plan, Path, Path | None, bool]:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.torture", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument(
        "--runs", type=int, default=3_000, help="accepted runs after which no more are asked for"
    )
    parser.add_argument("--seconds", type=int, default=660, help="after which no more are asked for")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--threads", type=int, default=50)
    parser.add_argument(
        "--broken", choices=("fence", "sweep"), default="", help="leave out a part: it must fail"
    )
    parser.add_argument("--folder", type=Path, help="where the history goes")
    parser.add_argument("--check", type=Path, help="only check the facts of an earlier torture")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="crewline-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(
        seed=given.seed,
        runs=given.runs,
        seconds=given.seconds,
        workers=given.workers,
        threads=given.threads,
        broken=given.broken,
    )
    return plan, folder, given.check, given.folder is None


def _torture(place: Place) -> tuple[Facts, Counter[str]]:
    tail, began = Tail(place), time.monotonic()
    tally = tail.tally
    _say(f"seed {place.plan.seed}, history in {place.folder}")
    crowd = Crowd(place)
    told = began
    try:
        while tally.accepted < place.plan.runs and time.monotonic() < began + place.plan.seconds:
            crowd.strike()
            crowd.mend()
            _pause(place, tally.accepted - tally.ended > _MOST_OPEN)
            if time.monotonic() > told + 15:
                told = time.monotonic()
                _say(f"{told - began:4.0f} s: {tally.accepted} runs accepted, {tally.ended} ended")
            time.sleep(0.05)
        place.over.touch()
        crowd.calm()
        rest = time.monotonic()
        while (tally.busy or crowd.clients_left()) and time.monotonic() < rest + _REST_S:
            time.sleep(0.2)
        time.sleep(2)  # whoever is still about to write shows himself
    finally:
        crowd.end()
        tail.close()
    crowd.done["seconds"] = round(time.monotonic() - began)
    return collect(place, tally.changes), crowd.done


def _pause(place: Place, wanted: bool) -> None:
    if wanted != place.paused.exists():
        (place.paused.touch if wanted else place.paused.unlink)()


def _report(plan: Plan, facts: Facts, done: Counter[str], violations: Sequence[Violation]) -> None:
    noted = Counter(fact["what"] for fact in facts.noted)
    rows = [row for end in facts.threads.values() for row in end.runs.values()]
    _say(f"seed {plan.seed}")
    _count("processes", done)
    _count("faults", Counter(fact["kind"] for fact in facts.noted if fact["what"] == "fault"))
    _count("deliveries", Counter(fact["kind"] for fact in facts.noted if fact["what"] == "delivery"))
    asks = [fact for fact in facts.noted if fact["what"] == "ask"]
    _count("requests", Counter(fact["kind"] for fact in asks))
    _count("strategies of accepted runs", Counter(run.strategy for run in facts.accepted.values()))
    _count("told", Counter(fact["error"] or "yes" for fact in facts.noted if fact["what"] == "told"))
    _count("runs", Counter({"accepted": len(facts.accepted), **Counter(row["status"] for row in rows)}))
    swept = Counter[str]()
    for fact in facts.noted:
        if fact["what"] == "swept":
            swept.update(
                {name: fact[name] for name in ("redispatched", "given_up", "dead_letters", "failed")}
            )
    _count("sweeps", swept)
    _count(
        "executions",
        Counter(fact["failure"] or "ended" for fact in facts.noted if fact["what"] == "executed"),
    )
    _say(
        f"{noted['executes']} executions, {noted['node']} nodes started, {noted['stale']} owners told they were stale, "
        f"{len(facts.changes)} changes, "
        f"{sum(len(end.kept) for end in facts.threads.values())} checkpoints checked"
    )
    for one in violations[:_SHOWN]:
        _say(f"VIOLATION {one.rule}: thread {one.thread}: {one.text}")
    if violations:
        _count("VIOLATIONS", Counter(one.rule for one in violations))
    else:
        _say("no violation")


def _count(title: str, counted: Counter[str]) -> None:
    _say(f"{title}: " + ", ".join(f"{number} {name}" for name, number in sorted(counted.items())))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
