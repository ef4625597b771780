"""Ten thousand messages, some twice and some bad: `make bench-intake`.

Real messages through the queues and the table of the packaged template on the local cloud, into the
function's own handler; pollers stand in for Lambda's. No worker runs: it is the start of runs that is
measured. Exit code 1: a good message has not exactly one run, or a bad one is not where it belongs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.clouds import local_cloud
from benchmarks.intake.costs import Counting, Kind, priced
from benchmarks.intake.messages import MANIFEST, Sent, messages
from benchmarks.intake.stages import Handled, Stage, build, drain, letters, send
from benchmarks.reports import Verdict, aligned, exit_code, verdict_lines
from crewline.models.intake import thread_id_of
from crewline.settings import environment
from crewline.store import keys
from crewline.store.clients import client
from crewline.store.table import Table

_TENANT: Final = "default"


def main(arguments: Sequence[str] | None = None) -> int:
    """Send, take in, compare, print."""
    parser = argparse.ArgumentParser(prog="benchmarks.intake", description="Make runs of many messages.")
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--sandboxes", type=int, default=4, help="batches that are taken in at once")
    parser.add_argument("--dying", type=float, default=0.05, help="share of batches that come again")
    parser.add_argument("--seconds", type=float, default=1_200, help="when to give up")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(arguments)
    with local_cloud(), tempfile.TemporaryDirectory(prefix="crewline-intake-") as folder:
        stage = build()
        _settle(stage, Path(folder))
        kinds = Counting(Path(folder) / "requests").kinds()
        list(letters(stage))
        sent = list(messages(options.messages, seed=options.seed))
        began = time.monotonic()
        send(stage, sent)
        print(f"{len(sent):,} messages sent in {time.monotonic() - began:.0f} s", flush=True)
        handled = drain(
            stage,
            sandboxes=options.sandboxes,
            dying=options.dying,
            until=time.monotonic() + options.seconds,
            seed=options.seed,
        )
        found = _runs(stage, sent)
        dead = list(letters(stage))
    _report(sent, handled, kinds, options.sandboxes)
    verdicts = judge(sent, found, dead, handled)
    print("", *verdict_lines(verdicts), sep="\n")
    return exit_code(verdicts)


def judge(
    sent: Sequence[Sent],
    found: Mapping[str, Sequence[int]],
    dead: Sequence[tuple[str, str]],
    handled: Handled,
) -> list[Verdict]:
    """Compare what there is with what was sent.

    Args:
        sent: Every message, those that were sent twice as well.
        found: Group → the numbers of the messages that its runs are of, in their order.
        dead: Body and reason of every dead letter.
        handled: What the pollers did.
    """
    wanted: dict[str, list[int]] = defaultdict(list)
    bad = {one.body: one.reason for one in sent if one.reason}
    for one in sent:
        if not one.reason and one.number not in wanted[one.group]:
            wanted[one.group].append(one.number)
    runs, good = Counter(n for one in found.values() for n in one), sum(map(len, wanted.values()))
    once = sum(runs[number] == 1 for numbers in wanted.values() for number in numbers)
    ordered = sum(list(found.get(group, ())) == numbers for group, numbers in wanted.items())
    kept = sum(count == 1 for body, count in Counter(body for body, _ in dead).items() if body in bad)
    told = sum(reason.startswith(bad.get(body) or "?") for body, reason in dead)
    return [
        Verdict(
            "every good message is one run", once == good and runs.total() == good, f"{once:,} of {good:,}"
        ),
        Verdict("the runs of a thread have its order", ordered == len(wanted), f"{ordered} of {len(wanted)}"),
        Verdict(
            "every bad message is one dead letter", kept == len(bad) == len(dead), f"{kept} of {len(bad)}"
        ),
        Verdict("each says why", told == len(dead), f"{told} of {len(dead)}"),
        Verdict("the queue was emptied", not handled.unfinished, f"{handled.seconds:.0f} s"),
    ]


def _settle(stage: Stage, folder: Path) -> None:
    """Write the project, and give this process the environment of the function."""
    (folder / "graphs.py").touch()
    (folder / "langgraph.json").write_text(json.dumps(MANIFEST))
    os.environ.update(
        environment(
            table=stage.table,
            bucket=stage.bucket,
            run_queue_url=stage.run_queue,
            webhook_queue_url=stage.webhooks,
            intake_dead_letter_url=stage.refused,
            event_dead_letter_url=stage.events,
            manifest=str(folder / "langgraph.json"),
            log_level="ERROR",
        )
    )


def _runs(stage: Stage, sent: Sequence[Sent]) -> dict[str, list[int]]:
    """Read the runs of every thread, in the order in which the thread has accepted them."""
    table, found = Table(client("dynamodb"), stage.table), {}
    for group in {one.group for one in sent}:
        partition = keys.thread_partition(_TENANT, thread_id_of(_TENANT, group))
        rows = sorted(table.query(partition, prefix=keys.RUN_PREFIX), key=lambda row: row["turn"])
        found[group] = [int(json.loads(row["metadata"])["number"]) for row in rows]
    return found


def _report(sent: Sequence[Sent], handled: Handled, kinds: Sequence[Kind], sandboxes: int) -> None:
    firsts = len({one.group for one in sent if not one.reason})
    different = len({one.number for one in sent if not one.reason})
    bad = sum(one.reason is not None for one in sent)
    twice = len(sent) - different - bad
    mix = {
        "first of a thread": firsts,
        "next of a thread": different - firsts,
        "sent again": handled.deliveries - different - bad,
        "bad": bad,
    }
    print(
        f"{handled.deliveries:,} deliveries of {different + bad:,} messages, {bad} of them bad: {twice:,} sent "
        f"twice, {handled.again:,} delivered again after {handled.deaths} batches whose poller died, "
        f"{handled.failed} reported to come again\n"
    )
    headings = ("a message that is", "delivered", "requests", "WRU", "RRU", "$ per 1,000")
    rows = [
        (
            kind.name,
            f"{mix[kind.name]:,}",
            f"{kind.requests:.1f}",
            f"{kind.wru:.1f}",
            f"{kind.rru:.1f}",
            f"{kind.dollars * 1_000:.4f}",
        )
        for kind in kinds
    ]
    print(*aligned([headings, *rows], texts=1), "", sep="\n")
    parts = priced(kinds, mix, batches=handled.batches, busy_s=handled.busy_s)
    per = 1_000 / (different + bad)
    total = [*parts, ("together", sum(dollars for _, dollars in parts))]
    lines = [(name, f"{dollars * per:.4f}") for name, dollars in total]
    print(*aligned([("of 1,000 messages, repetitions included", "$"), *lines], texts=1), "", sep="\n")
    rate = handled.deliveries / handled.seconds
    print(
        f"{rate:,.0f} deliveries a second by {sandboxes} sandboxes on this machine, beside the local cloud "
        f"({handled.batches:,} batches, {handled.busy_s / handled.batches * 1000:,.0f} ms each)"
    )


if __name__ == "__main__":
    sys.exit(main())
