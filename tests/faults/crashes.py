"""Tell every story with trouble at every call: `make crashes` does, and says what went otherwise (minutes)."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

os.environ["LANGGRAPH_STRICT_MSGPACK"] = "true"  # before anything imports langgraph, which reads it then

from pytest import MonkeyPatch  # noqa: PT013 (a fixture is made of it elsewhere)

from crewline.engine import journals
from crewline.services import endings, runs, threads
from crewline.store import keys, table
from tests.faults.processes import (
    KINDS,
    Cloud,
    Conflicts,
    Once,
    Stop,
    Trouble,
    is_transaction,
    is_write,
    running_cloud,
)
from tests.faults.stories import STORIES, Found, Story
from tests.faults.telling import Role, Telling

Case = tuple[Role | None, Trouble, str]
_STOPS, _FAULTS = 36, 107
"""Of so many calls one is stopped at, or afflicted, in the small form: another one in each story."""
_CONFLICTS = 3


@contextmanager
def hasty_cloud(folder: Path) -> Iterator[Cloud]:
    """Run a local cloud for processes that make no pauses; logs of what a dead process could not do are cut off."""
    with MonkeyPatch.context() as patch, running_cloud(folder) as cloud:
        for module in (table, endings):
            patch.setattr(module, "_pause", lambda _attempt: None)
        for service in (runs, threads):
            patch.setattr(service, "pause", lambda _attempt: None)
        patch.setattr(journals, "LINGER_S", 0.002)
        patch.setattr(keys, "SHARDS", 1)
        patch.setattr(threading, "excepthook", lambda _args: None)
        patch.setattr(logging.getLogger("asyncio"), "disabled", True)
        yield cloud


def tell(cloud: Cloud, story: Story, victim: Role | None, trouble: Trouble) -> tuple[Telling, Found]:
    """Tell a story to its end, and check what must hold whatever happened."""
    telling = Telling(cloud, story.graph, victim, trouble)
    telling.wide = story.wide
    story.before(telling)
    telling.recovered = 0
    telling.begin()
    story.tell(telling)
    telling.end()
    telling.settle()
    found = telling.found()
    assert not (story.committing and telling.reran), f"done, and ran again: {telling.reran}"
    telling.again()
    return telling, found


def undisturbed(cloud: Cloud, story: Story) -> Found:
    """Tell how a story ends when nothing happens."""
    with cloud.afresh() as place:
        telling, found = tell(place, story, None, Trouble())
    assert story.name.startswith("stateless") or not telling.recovered
    return found


def crashes(story: Story, *, everywhere: bool) -> Iterator[Case]:
    """Stop each of a story's victims at each of its calls.

    The small form leaves out what leaves the same behind: a stop at a read, and before a write that
    nothing was executed for; and of the rest it takes a sample.
    """
    place = STORIES.index(story)
    for victim in story.victims:
        for after in (False, True):
            of: Callable[[str], bool] = is_write if after else is_transaction
            step = 1 if everywhere else _STOPS
            for number in count((place + 2 * after) % step, step):
                stop = Stop(number, after=after, of=(lambda _operation: True) if everywhere else of)
                yield victim, stop, f"{victim} stops {'after' if after else 'before'} call {number}"
                if not stop.happened:
                    break


def faults(story: Story, *, everywhere: bool) -> Iterator[Case]:
    """Refuse writes of a story, or lose their answers; the processes live on."""
    yield None, Conflicts(_CONFLICTS), "every transaction meets others"
    place = STORIES.index(story)
    for turn, kind in enumerate(KINDS):
        step = 1 if everywhere else _FAULTS
        for number in count((place + 3 * turn) % step, step):
            once = Once(number, kind)
            yield None, once, f"write {number} is {kind}"
            if not once.happened:
                break


def judge(cloud: Cloud, story: Story, expected: Found, case: Case) -> None:
    """Tell a story with trouble, and compare how it ended.

    Raises:
        BaseException: It ended otherwise; a note says where the trouble was.
    """
    victim, trouble, what = case
    try:
        with cloud.afresh() as place:
            story.judge(*tell(place, story, victim, trouble), expected)
    except BaseException as exc:
        exc.add_note(f"{story}: {what} of {trouble.sent}")
        raise


def main() -> int:
    """Tell everything, print figures and what is wrong."""
    told = wrong = 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, hasty_cloud(Path(folder)) as cloud:
        for story in STORIES:
            expected = undisturbed(cloud, story)
            for make in (crashes, faults):
                for case in make(story, everywhere=True):
                    told += 1
                    try:
                        judge(cloud, story, expected, case)
                    except Exception as exc:  # noqa: BLE001 (it is said, and the next case told)
                        wrong += 1
                        print(f"{type(exc).__name__}: {exc}", *exc.__notes__, sep="\n  ")  # noqa: T201
            print(f"{story}: {told} so far, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    print(f"{len(STORIES)} stories, told {told} times, {wrong} wrong")  # noqa: T201
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
