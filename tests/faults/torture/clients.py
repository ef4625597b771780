"""Client processes: they ask for runs, cancels and deletions, execute some runs in place, and write down what they are told."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from crewline.errors import CrewlineError, Unavailable
from crewline.models.runs import Command, RunCreate
from crewline.services.runs import Admitted
from crewline.store.idempotency import Once
from tests.faults.torture.plans import CREW, TENANT, Place
from tests.faults.torture.worlds import World, make_world

_CLIENTS: Final = 4
"""Clients of one process."""
_KNOWN: Final = 40
"""Runs that a client remembers, to cancel or delete them."""
_WORDS: Final = {"work": 60, "block": 10, "fork": 14, "slow": 5, "ask": 8}
_STRATEGIES: Final = {"enqueue": 55, "reject": 12, "interrupt": 17, "rollback": 16}
_DURABILITIES: Final = {"async": 70, "sync": 22, "exit": 8}
_REQUESTS: Final = {"background": 46, "here": 22, "resume": 8, "cancel": 15, "delete": 5, "cancel many": 4}
_HOT: Final = 6
"""Threads that every third request goes to."""


def ask_around(place: Place, who: str) -> None:
    """Be a client process until the torture is over."""
    world = make_world(place, who)
    clients = [Client(world, f"{who}.{number}") for number in range(_CLIENTS)]
    threads = [threading.Thread(target=one.go_on) for one in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    world.journal.note("ends")


class Client:
    """One client."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name
        self._dice = world.place.plan.dice(name)
        self._known: deque[tuple[str, str]] = deque(maxlen=_KNOWN)
        self._numbers = count()

    def go_on(self) -> None:
        while not self._world.place.over.exists():
            if self._world.place.paused.exists():
                time.sleep(0.2)
                continue
            try:
                self._ask(_draw(self._dice, _REQUESTS))
            except Exception:  # noqa: BLE001 (whatever it is, the checker is to see it)
                self._world.journal.note("crash", text=traceback.format_exc())
            time.sleep(self._dice.uniform(0, 0.3))

    def _ask(self, request: str) -> None:
        if request in ("background", "here", "resume"):
            self._start(request)
        elif self._known:
            self._stop(request)

    # ------------------------------------------------------------------ starting

    def _start(self, request: str) -> None:
        thread_id, mark = self._thread(), self._mark()
        strategy, plan = _draw(self._dice, _STRATEGIES), self._plan()
        fields: dict[str, Any] = {
            "assistant_id": CREW,
            "if_not_exists": "create",
            "multitask_strategy": strategy,
            "durability": _draw(self._dice, _DURABILITIES),
            "after_seconds": self._dice.choice((5, 20)) if self._dice.random() < 0.04 else None,
        }
        if request == "resume":
            fields["command"] = Command(resume=mark)
        else:
            fields["input"] = {"plan": plan, "at": 0, "log": [[mark, -1, "input", "", ""]]}
        body = RunCreate(**fields)
        once = (
            Once(scope=f"runs of {thread_id}", key=mark, digest=mark) if self._dice.random() < 0.5 else None
        )
        here = request == "here" or (request == "resume" and self._dice.random() < 0.5)
        facts = {"thread": thread_id, "strategy": strategy, "resume": request == "resume"}
        repeat = once is not None and self._dice.random() < 0.4
        if repeat and self._dice.random() < 0.3:  # the same request at the same time
            twin = threading.Thread(target=self._create, args=(thread_id, mark, body, once, here, facts))
            twin.start()
        told = self._create(thread_id, mark, body, once, here, facts)
        if once and (repeat or told is Unavailable):
            self._create(thread_id, mark, body, once, here, facts)

    def _create(
        self, thread_id: str, mark: str, body: RunCreate, once: Once | None, here: bool, facts: dict[str, Any]
    ) -> Any:
        runs = self._world.runs

        def act() -> Admitted:
            if here:
                return runs.start(TENANT, thread_id, body, once=once)
            return Admitted(run=runs.create(TENANT, thread_id, body, once=once))

        admitted = self._request("start", mark, act, **facts)
        if isinstance(admitted, Admitted):
            self._known.append((thread_id, admitted.run.run_id))
            if admitted.claim:
                self._execute(admitted)
        return admitted

    def _execute(self, admitted: Admitted) -> None:
        run, claim = admitted.run, admitted.claim
        assert claim
        try:
            answer = self._world.executor.execute(run, claim).result()
        except CrewlineError as exc:
            self._world.journal.note(
                "answered", run=run.run_id, thread=run.thread_id, failure=type(exc).__name__
            )
            return
        error = answer.get("__error__")
        own = None if error else [one for one in answer.get("log", []) if one[0] == run.run_id]
        self._world.journal.note("answered", run=run.run_id, thread=run.thread_id, error=error, log=own)

    def _thread(self) -> str:
        threads = self._world.place.thread_ids
        return self._dice.choice(threads[:_HOT] if self._dice.random() < 1 / 3 else threads)

    def _plan(self) -> list[str]:
        return [_draw(self._dice, _WORDS) for _ in range(self._dice.randint(1, 5))]

    # ------------------------------------------------------------------ stopping

    def _stop(self, request: str) -> None:
        thread_id, run_id = self._dice.choice(self._known)
        cancellations = self._world.cancellations
        if request == "delete":
            self._request(
                "delete",
                self._mark(),
                lambda: cancellations.delete(TENANT, thread_id, run_id),
                thread=thread_id,
                runs=[run_id],
            )
            return
        action: Any = self._dice.choice(("interrupt", "rollback"))
        run_ids = [run_id]
        if request == "cancel many":
            run_ids = [run for thread, run in self._known if thread == thread_id]
        self._request(
            "cancel",
            self._mark(),
            lambda: (
                cancellations.cancel(TENANT, thread_id, run_id, action)
                if request == "cancel"
                else cancellations.cancel_many(TENANT, thread_id, run_ids, action)
            ),
            thread=thread_id,
            runs=run_ids,
            action=action,
            many=request != "cancel",
        )

    # ------------------------------------------------------------------ what they are told

    def _request(self, kind: str, mark: str, act: Callable[[], Any], **facts: Any) -> Any:
        """Do a request, with a note before it and one after; gives its answer or the class of its error."""
        journal = self._world.journal
        journal.note("ask", ask=mark, kind=kind, **facts)
        try:
            answer = act()
        except CrewlineError as exc:
            journal.note("told", ask=mark, kind=kind, run=None, error=type(exc).__name__, message=exc.message)
            return type(exc)
        run = answer.run.run_id if isinstance(answer, Admitted) else None
        journal.note("told", ask=mark, kind=kind, run=run, error=None)
        return answer

    def _mark(self) -> str:
        return f"{self._name}.{next(self._numbers)}"


def _draw(dice: random.Random, weights: dict[str, int]) -> str:
    return dice.choices(list(weights), list(weights.values()))[0]
