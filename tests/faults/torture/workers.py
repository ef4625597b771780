"""Worker processes: they receive from the run queue, and do what a message says, sometimes twice or late."""

from __future__ import annotations

import random
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final

from botocore.exceptions import ClientError

from crewline.errors import CrewlineError
from tests.faults.torture.plans import Place
from tests.faults.torture.worlds import World, make_world

_HANDS: Final = 2
"""Messages that one worker does at a time."""
_HIDDEN_S: Final = (2, 8, 30)
"""For how long a message is hidden from other workers: for less than a run takes, or for more."""
_SWEEP_S: Final = 3.0


def work(place: Place, who: str) -> None:
    """Be a worker until the process is killed."""
    world = make_world(place, who)
    hands = [
        threading.Thread(target=_receive, args=(world, place.plan.dice(who, number)))
        for number in range(_HANDS)
    ]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()


def sweep_up(place: Place, who: str) -> None:
    """Be the sweeper until the process is killed."""
    world = make_world(place, who)
    while True:
        time.sleep(_SWEEP_S)
        swept = world.sweeper.sweep(lambda: 60_000)
        world.journal.note("swept", **asdict(swept))


def _receive(world: World, dice: random.Random) -> None:
    while True:
        found = world.sqs.receive_message(
            QueueUrl=world.place.queue_url,
            MaxNumberOfMessages=1,
            WaitTimeSeconds=1,
            VisibilityTimeout=dice.choice(_HIDDEN_S),
        )
        for message in found.get("Messages", []):
            _handle(world, dice, message)


def _handle(world: World, dice: random.Random, message: dict[str, Any]) -> None:
    body, fate = message["Body"], dice.random()
    if fate < 0.03:  # late
        world.journal.note("delivery", kind="late")
        time.sleep(dice.uniform(0.5, 4))
    elif fate < 0.08:  # twice at once
        world.journal.note("delivery", kind="twice")
        threading.Thread(target=_try, args=(world, lambda: world.jobs.do(body))).start()
    done = _try(world, lambda: world.jobs.do(body))
    if fate > 0.95:
        world.journal.note("delivery", kind="again")  # it is done, and comes again all the same
    elif done:
        with suppress(ClientError):  # somebody else has received it since
            world.sqs.delete_message(QueueUrl=world.place.queue_url, ReceiptHandle=message["ReceiptHandle"])


def _try(world: World, act: Any) -> bool:
    try:
        act()
    except CrewlineError as exc:
        world.journal.note("failed", failure=type(exc).__name__)
        return False
    except Exception:  # noqa: BLE001 (whatever it is, the checker is to see it)
        world.journal.note("crash", text=traceback.format_exc())
        return False
    return True
