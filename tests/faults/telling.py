"""One telling of a story: clients, workers and what becomes of the thread, whoever stops on the way."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar
from uuid import uuid4

from langchain_core.runnables import RunnableConfig

from crewline.engine.crews import Graph
from crewline.errors import Conflict, NotFound, Unavailable
from crewline.models.clocks import new_id
from crewline.models.leases import DRAFT_MS, LEASE_MS, Cancel, Continues, Lease
from crewline.models.runs import Run, RunCreate
from crewline.models.states import HistoryRequest, StateEdit
from crewline.models.threads import ThreadCreate
from crewline.store import keys, leases
from crewline.store.idempotency import Once
from crewline.store.items import Item
from tests.buses import Bus
from tests.faults.processes import GRAPH, Cloud, Process, Queue, Stopped, Trouble, Wire
from tests.workflows import Executions

T = TypeVar("T")
Role = Literal["client", "other", "worker"]
ROLES: Final[tuple[Role, ...]] = ("client", "other", "worker")
_INVOCATION_S: Final = 900
_RETRIES: Final = 2
"""How often the workflow tries a slice again that died."""
_TRIES: Final = 20
_ROUNDS: Final = 16
_OF_A_RUN: Final = frozenset(
    ("run", "owner", "cancel", "upto", "drop", "waiting", "undoing", "base", "fed", "attempt", "due", "steps")
)


@dataclass(frozen=True, slots=True)
class _Executed:
    """A node that a living process has begun."""

    run_id: str
    node: str
    wire: Wire
    landed: int
    """Transactions of the process before."""


class Telling:
    """The people and the places of one telling.

    Args:
        cloud: Where it is told.
        graph: Makes the crew of a process.
        victim: Whose calls meet the trouble; None: everybody's.
        trouble: What happens to them.
    """

    def __init__(
        self,
        cloud: Cloud,
        graph: Callable[[Telling, Process], Graph],
        victim: Role | None,
        trouble: Trouble,
    ) -> None:
        self.cloud = cloud
        self.tenant = f"t-{uuid4().hex[:16]}"
        self.thread_id = new_id()
        self.queue = Queue(cloud.clock)
        self.webhooks = Queue(cloud.clock)
        self.bus: Bus | None = None
        self.executions = Executions()
        self.meanwhile: dict[str, Callable[[], object]] = {}
        """What somebody else does while a node is executed for the first time."""
        self.runs: dict[str, str] = {}
        self.executed: list[_Executed] = []
        self.answers: dict[str, Any] = {}
        self.wide = False
        """It is about more than the one thread."""
        self.reran: list[str] = []
        """Nodes that were committed and ran again."""
        self.recovered = 0
        self._homes: dict[str, str] = {}
        self._states: dict[str, tuple[dict[str, Any], int, int]] = {}
        """Of each execution of the workflow: its state, nothing when it has ended; when it goes on; its tries."""
        self._requests: dict[str, Callable[[Process], Run]] = {}
        self._graph = graph
        self._victim = victim
        self._trouble = trouble
        self._processes: dict[Role, Process] = {}
        self._reader = self.fresh()
        self.ask(
            "client", lambda one: one.threads.create(self.tenant, ThreadCreate(thread_id=self.thread_id))
        )

    # ------------------------------------------------------------------ processes

    def fresh(self) -> Process:
        """Make a process that remembers nothing, and that nothing happens to."""
        return Process(
            self.cloud,
            Wire(),
            self.queue,
            self.webhooks,
            self.executions,
            lambda process: self._graph(self, process),
            bus=self.bus,
        )

    def listen(self) -> None:
        """From now on the deployment has an event bus."""
        self.bus = Bus()
        self._processes.clear()

    def process(self, role: Role) -> Process:
        """Give the process that plays a role now."""
        if role not in self._processes:
            self._processes[role] = self.fresh()
        return self._processes[role]

    def begin(self) -> None:
        """From now on the trouble happens."""
        for role in ROLES:
            if self._victim in (None, role):
                self.process(role).wire.trouble = self._trouble

    def end(self) -> None:
        """From now on nothing happens any more."""
        for process in self._processes.values():
            process.wire.trouble = None

    def ask(self, role: Role, act: Callable[[Process], T]) -> T:
        """Send a request, and repeat it until it is answered."""
        for _ in range(_TRIES):
            process = self.process(role)
            try:
                return act(process)
            except Unavailable:
                continue
            except BaseException:
                if not process.wire.gone:
                    raise
                del self._processes[role]
        raise AssertionError("the request is never answered")

    # ------------------------------------------------------------------ requests

    def create(self, label: str, role: Role = "client", **body: Any) -> str:
        """Start a run in the background, under an idempotency key of its own."""
        asked, once = self._body(label, body)
        self._requests[label] = lambda one: one.runs.create(self.tenant, self.thread_id, asked, once=once)
        return self._note(label, self.ask(role, self._requests[label]))

    def create_stateless(self, label: str, role: Role = "client", **body: Any) -> str:
        """Start a stateless run in the background."""
        asked, once = self._body(label, body)
        self._requests[label] = lambda one: one.runs.create_stateless(self.tenant, asked, once=once)
        return self._note(label, self.ask(role, self._requests[label]))

    def wait(self, label: str, role: Role = "client", **body: Any) -> None:
        """Start a run and execute it in place."""
        asked, once = self._body(label, body)
        self._requests[label] = lambda one: one.runs.start(self.tenant, self.thread_id, asked, once=once).run

        def act(process: Process) -> None:
            admitted = process.runs.start(self.tenant, self.thread_id, asked, once=once)
            self._note(label, admitted.run)
            if admitted.claim:
                ends = time.monotonic() + _INVOCATION_S
                answer = process.executor.execute(admitted.run, admitted.claim, ends=ends).result()
                if not isinstance(answer, Continues):
                    self.answers[label] = answer

        self.ask(role, act)

    def wait_stateless(self, label: str, *, keyed: bool, **body: Any) -> None:
        """Execute a stateless run in place."""
        asked, once = self._body(label, body)

        def act(process: Process) -> None:
            admitted = process.runs.start_stateless(self.tenant, asked, once=once if keyed else None)
            if keyed:
                self._note(label, admitted.run)
            if admitted.claim:
                self.answers[label] = process.executor.execute(admitted.run, admitted.claim).result()

        self.ask("client", act)

    def cancel(self, label: str, role: Role = "other", action: Cancel = "interrupt") -> None:
        """Ask a run to stop."""

        def act(process: Process) -> None:
            try:
                process.cancellations.cancel(self.tenant, self.thread_id, self.runs[label], action)
            except NotFound:
                return  # the request that was not answered has done it

        self.ask(role, act)

    def delete(self, role: Role = "other") -> None:
        """Delete the thread."""

        def act(process: Process) -> None:
            try:
                process.threads.delete(self.tenant, self.thread_id)
            except NotFound:
                return  # the request that was not answered has done it

        self._requests.clear()
        self.runs.clear()
        self.ask(role, act)

    def edit(self, values: Any, *, as_node: str, role: Role = "client") -> None:
        """Change the state; whoever stops in it and repeats it may do so twice."""
        body = StateEdit(values=values, as_node=as_node)
        self.ask(role, lambda process: process.edits.edit(self.tenant, self.thread_id, body))

    def copy(self, role: Role = "client") -> str:
        """Copy the thread; gives the id of the copy that was answered."""
        return self.ask(role, lambda process: process.copies.copy(self.tenant, self.thread_id))["thread_id"]

    def prune(self, role: Role = "client") -> None:
        """Let the thread keep its newest state alone."""
        self.ask(role, lambda process: process.prunings.keep_latest(self.tenant, self.thread_id))

    def abandon_drafts(self) -> None:
        """Let so much time pass that drafts which nobody completes are purged."""
        self.cloud.clock.now += DRAFT_MS

    def threads(self) -> dict[str, list[Any]]:
        """Read the history of every thread that is there: sources, steps, values and what is next."""
        pages = self.cloud.dynamodb.get_paginator("scan").paginate(
            TableName=self.cloud.table,
            FilterExpression="begins_with(PK, :threads) AND SK = :row",
            ExpressionAttributeValues={
                ":threads": {"S": f"T#{self.tenant}#"},
                ":row": {"S": keys.THREAD_SORT},
            },
        )
        names = [one["thread_id"]["S"] for page in pages for one in page["Items"]]
        return {name: self._told(name) for name in names}

    def _told(self, thread_id: str) -> list[Any]:
        thread, lease = self._reader.threads.read(self.tenant, thread_id)
        query = HistoryRequest(limit=1000)
        states = self._reader.executor.history(self.tenant, thread, lease, query)
        return [(one["metadata"]["source"], one["values"], one["next"], one["interrupts"]) for one in states]

    def create_thread(self) -> None:
        """Use the thread's id again, as soon as that can be done."""

        def act(process: Process) -> None:
            body = ThreadCreate(thread_id=self.thread_id, if_exists="do_nothing")
            try:
                process.threads.create(self.tenant, body)
            except Conflict:
                self._recover()
                raise Unavailable("not yet") from None

        self.ask("client", act)

    def again(self) -> None:
        """Repeat every request with its key: each gives the run that it gave before."""
        before, process = self.items(), self.fresh()
        for label, request in self._requests.items():
            assert request(process).run_id == self.runs[label]
        assert not self.queue.messages
        assert self.items() == before

    def _body(self, label: str, body: Mapping[str, Any]) -> tuple[RunCreate, Once]:
        asked = RunCreate(assistant_id=GRAPH, **{"durability": "sync", **body})
        return asked, Once(scope="runs", key=f"{self.tenant} {label}", digest=label)

    def _note(self, label: str, run: Run) -> str:
        assert self.runs.setdefault(label, run.run_id) == run.run_id, f"{label} was accepted twice"
        self._homes[label] = run.thread_id
        return run.run_id

    # ------------------------------------------------------------------ work

    def node(self, process: Process, name: str, config: RunnableConfig) -> None:
        """Note that a node is executed, and let others act while it is."""
        if process.wire.gone:
            raise Stopped
        run_id = str(config["configurable"]["run_id"])
        for one in self.executed:
            if (one.run_id, one.node) == (run_id, name) and one.wire.landed > one.landed:
                self.reran.append(name)
        self.executed.append(_Executed(run_id, name, process.wire, process.wire.landed))
        if act := self.meanwhile.pop(name, None):
            act()

    def work(self) -> bool:
        """Let the worker do what is in the queue; False when it does not come to the end."""
        while (body := self.queue.take()) is not None:
            process = self.process("worker")
            try:
                process.jobs.do(body, ends=time.monotonic() + _INVOCATION_S)
            except BaseException as exc:
                # As SQS does it: the message comes again when nobody has said that it was done.
                self.queue.messages.append((self.cloud.clock() + LEASE_MS, body))
                if process.wire.gone:
                    del self._processes["worker"]
                elif not isinstance(exc, Unavailable):
                    raise
                return False
        return all(self._slices(name) for name in list(self.executions.started))

    def _slices(self, name: str) -> bool:
        """Do what an execution of the workflow does next; False when it does not come to its end now.

        What its state machine retries is here tried again after time has passed; what it gives up is left
        to the sweeper.
        """
        asked, due, tries = self._states.setdefault(name, (self.executions.started[name], 0, 0))
        while asked and due <= self.cloud.clock():
            process = self.process("worker")
            try:
                told = process.jobs.slice(asked, ends=time.monotonic() + _INVOCATION_S)
            except BaseException as exc:
                if process.wire.gone:
                    del self._processes["worker"]
                elif not isinstance(exc, Unavailable):
                    raise
                gone_on = asked if tries < _RETRIES else {}
                self._states[name] = (gone_on, self.cloud.clock() + LEASE_MS + 1, tries + 1)
                return False
            following, tries = told.pop("next"), 0
            due = self.cloud.clock() + 1000 * told.pop("seconds") if following == "wait" else 0
            asked = told if following in ("continue", "wait") else {}
            self._states[name] = (asked, due, tries)
        return not asked

    def settle(self) -> None:
        """Wait until nothing is in flight, however many processes that takes."""
        self.work()
        for _ in range(_ROUNDS):
            if not self.busy():
                return
            self._recover()
        raise AssertionError(f"it does not come to an end: {self.busy()}")

    def _recover(self) -> None:
        """Let time pass, sweep, and let a worker that knows nothing do what is in the queue."""
        self.recovered += 1
        self.cloud.clock.now += LEASE_MS + 1_000 if self.recovered < 3 else 4 * LEASE_MS
        self.fresh().sweep()
        self.work()

    def busy(self) -> list[str]:
        """Say what is still to be done."""
        found = [f"message {body}" for _, body in self.queue.messages]
        found += [f"execution {name}" for name, (asked, _, _) in self._states.items() if asked]
        lease = self.lease()
        if lease.run or (lease.deleted and not lease.purged):
            found.append(f"in flight: {lease}")
        if self.wide:
            found += [f"in flight: {item}" for item in self._due(keys.LEASES_IN_FLIGHT, keys.flight_shards())]
            found += [f"expiring: {item}" for item in self._due(keys.THREADS_EXPIRING, keys.expiry_shards())]
        return found

    def _due(self, index: keys.Index, shards: tuple[str, ...]) -> Iterator[Item | None]:
        now = keys.flight_time(self.cloud.clock())
        for shard in shards:
            for key in self._reader.table.query_index(index, shard, at_most=now):
                place = keys.lease_of(key)
                if place is None or place[0] == self.tenant:
                    yield self._reader.table.get(key)

    # ------------------------------------------------------------------ what is there

    def lease(self, thread_id: str | None = None) -> Lease:
        """Read the lease as it is."""
        item = self._reader.table.get(keys.lease(self.tenant, thread_id or self.thread_id))
        return leases.from_item(item)

    def head(self) -> str:
        """Name the newest checkpoint."""
        head = self.lease().head
        assert head
        return head

    def state(self) -> Any:
        """Read the state as the API shows it."""
        thread, lease = self._reader.threads.read(self.tenant, self.thread_id)
        return self._reader.executor.state(self.tenant, thread, lease, None, subgraphs=False)

    def history(self) -> list[Any]:
        """Read all states, the newest first."""
        thread, lease = self._reader.threads.read(self.tenant, self.thread_id)
        found: list[Any] = self._reader.executor.history(
            self.tenant, thread, lease, HistoryRequest(limit=1000)
        )
        return found

    def status(self, label: str) -> str:
        """Tell what became of a run."""
        try:
            run = self._reader.runs.get(self.tenant, self._homes[label], self.runs[label])
        except NotFound:
            return "gone"
        return f"{run.status} {run.error.error}" if run.error else run.status

    def items(self, thread_id: str | None = None) -> list[Item]:
        """Read everything that is stored of a thread."""
        partition = keys.thread_partition(self.tenant, thread_id or self.thread_id)
        return list(self._reader.table.query(partition))

    def found(self) -> dict[str, Any]:
        """Tell how it ended, checking what must hold however it came to that."""
        thread, lease = self._reader.threads.read(self.tenant, self.thread_id)
        items = self.items()
        self._check_rows(items)
        assert thread.status != "busy"
        history = self.history()
        state = self.state()
        assert (history[0]["checkpoint_id"] if history else None) == lease.head == state["checkpoint_id"]
        return {
            "thread": thread.status,
            "runs": {label: self.status(label) for label in self.runs},
            "values": state["values"],
            "next": state["next"],
            "questions": [one["value"] for one in state["interrupts"]],
            "history": [
                (one["metadata"]["source"], one["metadata"]["step"], one["values"], one["next"])
                for one in reversed(history)
            ],
        }

    def objects(self) -> list[str]:
        """Name the large values of the thread."""
        return list(self._reader.blobs.list(self.tenant, self.thread_id))

    def left(self) -> list[Any]:
        """Name what is left of private threads; a tombstone is nothing."""
        pages = self.cloud.dynamodb.get_paginator("scan").paginate(
            TableName=self.cloud.table,
            FilterExpression="begins_with(PK, :threads)",
            ExpressionAttributeValues={":threads": {"S": f"T#{self.tenant}#"}},
        )
        found = [
            (one["PK"]["S"], one["SK"]["S"]) for page in pages for one in page["Items"] if "purged" not in one
        ]
        return [one for one in found if one[0] != keys.thread_partition(self.tenant, self.thread_id)]

    def _check_rows(self, items: list[Item]) -> None:
        """Check that the lease is free, and that rows, markers and records are those of accepted runs."""
        turns = {0}
        rows = set()
        for item in items:
            sort: str = item[keys.SORT]
            assert not sort.startswith(keys.MARKER_PREFIX), f"a marker is left: {item}"
            if sort == keys.LEASE_SORT:
                left = _OF_A_RUN.intersection(item) - ({"waiting"} if not item.get("waiting") else set())
                assert not left, f"the lease is not free: {item}"
                assert keys.LEASES_IN_FLIGHT.partition not in item
            if sort.startswith(keys.RUN_PREFIX):
                rows.add(item["run_id"])
                turns.add(item.get("turn", 0))
        assert rows == {
            one
            for label, one in self.runs.items()
            if self._homes[label] == self.thread_id and self.status(label) != "gone"
        }
        strange = [
            one for one in items if one[keys.SORT].startswith("C#") and one.get("turn", 0) not in turns
        ]
        assert not strange, f"records of a run that is gone: {strange}"
        table = self._reader.table
        for label, run_id in self.runs.items():
            pointer = table.get(keys.run_pointer(self.tenant, run_id))
            assert (pointer is None) == (self.status(label) == "gone"), f"{label} and its pointer"

    def times(self, label: str) -> Counter[str]:
        """Count how often each node of a run was executed."""
        return Counter(one.node for one in self.executed if one.run_id == self.runs[label])
