"""The lease protocol as a machine whose every move is one conditional write, one message or one fault.

A move reads as in `docs/architecture.md`: its condition is looked up on the lease as it is, what it
writes comes from the lease as it was read. Both are the same moment, unless the budget lets a process
pause in between. A rule can be left out: then the exploration must find what the rule is for.

What is abstracted: an owner's token is a small number that no living process has; times are truths
(see `states`); the input is fed with the first superstep; removals by a rollback are one record a
time, those by a purge one record or one run a time. A message is lost only by a crash, because a
message that is never delivered is no different. A heartbeat is left out: it keeps a lease from expiring,
which here it does only as a fault while its owner lives. `epoch` is left out: `seq` moves with every start,
and that is what a start compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from tests.faults.states import (
    NOBODY,
    ROWS,
    RUNS,
    UNFINISHED,
    Budget,
    Cancel,
    Client,
    Executions,
    Kind,
    Lease,
    Purger,
    Record,
    Run,
    State,
    Status,
    View,
    Worker,
    look,
)

if TYPE_CHECKING:
    from _typeshed import SupportsRichComparison

Rule = Literal[
    "fence", "sweep", "fed", "oldest first", "idempotency", "deleted", "start: head", "start: seq",
    "queue: run", "queue: seq", "queue: waiting", "queue: cancel", "queue: yields", "claim: run", "claim: due",
    "commit: cancel", "show: unfinished",
    "settle: first", "keep: owner", "keep: found", "finish: seq", "finish: waiting", "finish: cancel", "undo: head",
    "undo before free", "undo before give up", "edit: head", "cancel: run", "cancel: rollback stays",
    "cancel queued: marker", "cancel queued: run", "forget: run", "delete: owner", "create: purged",
    "purge: still buried", "purge: same deletion", "move: counts on",
]  # fmt: skip

RULES: Final[dict[Rule, str]] = {
    "fence": "a worker writes only while the lease has its token",
    "sweep": "a lease that has expired, or a deleted thread, gets its message again",
    "fed": "a claimant goes on after the supersteps that the lease counts",
    "oldest first": "a thread is handed to the run that was queued first",
    "idempotency": "a key is used once",
    "deleted": "no run starts on a deleted thread, and no edit goes to it",
    "start: head": "a run starts only on the head that was read",
    "start: seq": "a run starts only if none was accepted since the lease was read",
    "queue: run": "a run queues only behind another",
    "queue: seq": "a run queues only if none was accepted since the lease was read",
    "queue: waiting": "a run that queues adds to the number that wait now, not when it read",
    "queue: cancel": "an interrupting run leaves a rollback that is asked for now, not when it read",
    "queue: yields": "a run stops one that yields only if it is still in flight",
    "claim: run": "a message claims only the run that it names",
    "claim: due": "a delayed run is claimed when it is due or cancelled",
    "commit: cancel": "a commit is refused once a cancel was asked for",
    "show: unfinished": "only an unfinished run with a row is shown as running",
    "settle: first": "a run that was started on an assumption is executed only once it was settled",
    "keep: owner": "only who has claimed a run says that its rows stay",
    "keep: found": "whoever claims a run finds whether its rows stay",
    "finish: seq": "a run ends only if none was accepted since its owner looked",
    "finish: waiting": "a run ends only if no queued one was cancelled since its owner looked",
    "finish: cancel": "a run ends otherwise than rolled back only if no rollback was asked for since",
    "undo: head": "a rollback sets the head back before it removes anything",
    "undo before free": "the lease is kept until nothing of a rolled back run is left",
    "undo before give up": "a run that is to be rolled back is never given up as an error",
    "edit: head": "an edit follows only the head that was read",
    "cancel: run": "a cancel hits only the run that it names",
    "cancel: rollback stays": "an interrupt does not replace a rollback",
    "cancel queued: marker": "a queued run is cancelled only while it is queued",
    "cancel queued: run": "a queued run is cancelled only behind another: not after its thread was deleted",
    "forget: run": "the row of a run in flight is not deleted",
    "delete: owner": "a deleted thread has no owner and no run",
    "create: purged": "a thread's id is used again only when nothing is left",
    "purge: still buried": "a purge removes only while the thread is deleted",
    "purge: same deletion": "a purge marks only the deletion that it was for",
    "move: counts on": "another execution is started under another name",
}
"""What each rule says; its place is the action that it is a condition of."""

T = TypeVar("T", bound="SupportsRichComparison")

Move = tuple[str, State, bool]
"""What happens, the state after it, and whether it is a fault: something that need not happen."""

PATIENCE: Final = 2
"""Claims without progress; the next one gives up. One less than in production, to be reached sooner."""
_MOST_WORKERS: Final = 2


class Model:
    """The machine for one plan.

    Args:
        plan: The requests; they reach the thread in any order.
        budget: What may go wrong.
        supersteps: How many each run makes.
        without: A rule to leave out.
    """

    def __init__(
        self, plan: Sequence[Kind], budget: Budget, *, supersteps: int = 1, without: Rule | None = None
    ) -> None:
        self.plan = tuple(plan)
        self.supersteps = supersteps
        self._without = without
        self.start = State(
            lease=Lease(),
            runs=(Run(),) * len(plan),
            log=(),
            messages=(),
            executions=Executions(),
            purges=0,
            workers=(),
            purgers=(),
            clients=(Client(),) * len(plan),
            budget=budget,
        )

    def moves(self, state: State) -> Iterator[Move]:
        """Everything that can happen next."""
        for one, client in enumerate(state.clients):
            if client.stage != "done":
                yield from self._answer(state, one, client)
        for run in sorted(set(state.messages)):
            yield from self._deliver(state, run)
        for execution in state.executions.living:
            yield from self._slice(state, *execution)
        for worker in state.workers:
            yield from self._work(state, worker)
        if state.purges:
            yield from self._deliver_purge(state)
        for purger in state.purgers:
            yield from self._purge(state, purger)
        yield from self._pass_time(state)

    def done(self, state: State) -> bool:
        """Whether every request is answered, every run has ended, and nothing is under way."""
        lease = state.lease
        return (
            lease.run == NOBODY
            and not (state.messages or state.purges or state.workers or state.purgers)
            and not state.executions.living
            and all(client.stage == "done" for client in state.clients)
            and (lease.purged or not lease.deleted)
        )

    def _keeps(self, rule: Rule) -> bool:
        return self._without != rule

    # ------------------------------------------------------------------ requests

    def _answer(self, state: State, one: int, client: Client) -> Iterator[Move]:
        kind = self.plan[one]
        if client.stage == "dispatch":
            run = one if kind in RUNS else client.target
            yield f"request {one}: dispatch {run}", _sent(_answered(state, one), run), False
            yield from _crash(f"request {one}: dies before dispatch", _answered(state, one))
        elif client.stage == "purge":
            sent = _answered(state, one)
            yield f"request {one}: send purge", sent._replace(purges=state.purges + 1), False
            yield from _crash(f"request {one}: dies before purge message", sent)
        elif kind in RUNS or kind == "edit":
            yield from self._decide(state, one, client)
        elif kind in {"cancel", "revoke"}:
            yield from self._cancel(state, one, client)
        elif kind == "forget":
            yield from self._delete_run(state, one, client)
        elif kind == "delete":
            yield self._delete_thread(state, one)
        else:
            yield from self._create_thread(state, one)

    def _decide(self, state: State, one: int, client: Client) -> Iterator[Move]:
        """Start, queue, edit or refuse, as what was read of the lease says."""
        kind, view = self.plan[one], client.view or look(state.lease)
        if client.view is None:
            yield from _pause(f"request {one}: reads", _client(state, one, client._replace(view=view)))
        if view.deleted and self._keeps("deleted"):
            yield f"request {one}: not found", _refused(state, one), False
        elif kind != "edit" and self._key_is_used(state, one):
            yield f"request {one}: answered with the run of its key", _refused(state, one), False
        elif view.run == NOBODY:
            begin = self._edit(state, one, view) if kind == "edit" else self._start(state, one, view)
            yield begin or _look_again(state, one)
        elif kind in {"reject", "edit"}:
            yield f"request {one}: rejected", _refused(state, one), False
        else:
            yield self._queue(state, one, view) or _look_again(state, one)

    def _start(self, state: State, one: int, view: View) -> Move | None:
        lease, kind = state.lease, self.plan[one]
        if (
            lease.run != NOBODY
            or (lease.deleted and self._keeps("deleted"))
            or (lease.head != view.head and self._keeps("start: head"))
            or (lease.seq != view.seq and self._keeps("start: seq"))
        ):
            return None
        in_place = kind in {"in place", "yielding", "assumed"}
        owner = _new_token(state) if in_place else 0
        after = lease._replace(
            run=one,
            owner=owner,
            live=True,
            seq=view.seq + 1,
            attempt=int(in_place),
            yields=kind == "yielding",
            base=view.head,
        )
        row = Run("running" if in_place else "pending", after.seq, early=kind == "delayed", keyed=True)
        started = _with_run(state, one, row)._replace(lease=after)
        if in_place:
            worker = Worker(owner, one, 0, settles=kind == "assumed")
            claimed = _answered(started, one)._replace(workers=_plus(state.workers, worker))
            return f"request {one}: start and claim", claimed, False
        return f"request {one}: start", _client(started, one, Client("dispatch")), False

    def _queue(self, state: State, one: int, view: View) -> Move | None:
        lease, kind = state.lease, self.plan[one]
        if (lease.run == NOBODY and self._keeps("queue: run")) or (
            lease.seq != view.seq and self._keeps("queue: seq")
        ):
            return None
        stops = view.yields and kind not in {"interrupt", "rollback"}
        if stops and lease.run != view.run and self._keeps("queue: yields"):
            return None
        seq = view.seq + 1
        waiting = lease.waiting if self._keeps("queue: waiting") else view.waiting
        after = lease._replace(seq=seq, waiting=waiting + 1)
        runs = state.runs
        if kind in {"interrupt", "rollback"}:
            before = lease.cancel if self._keeps("queue: cancel") else view.cancel
            cancel: Cancel = "rollback" if kind == "rollback" else before or "interrupt"
            after = after._replace(cancel=cancel, upto=seq, drop=kind)
            runs = tuple(
                _asked(run, kind) if at == lease.run else _asked(run, "interrupt") if run.marker else run
                for at, run in enumerate(runs)
            )
        elif stops:
            after = after._replace(cancel=lease.cancel or "interrupt")
            if self.plan[lease.run] == "yielding":
                runs = _with_run(state, lease.run, _asked(runs[lease.run], "interrupt")).runs
        row = Run("pending", seq, marker=True, early=kind == "delayed", keyed=True)
        queued = _with_run(state._replace(runs=runs), one, row)._replace(lease=after)
        return f"request {one}: queue ({kind})", _answered(queued, one), False

    def _edit(self, state: State, one: int, view: View) -> Move | None:
        lease = state.lease
        if (
            lease.run != NOBODY
            or (lease.deleted and self._keeps("deleted"))
            or (lease.head != view.head and self._keeps("edit: head"))
        ):
            return None
        record = Record(one, 0, view.head)
        edited = state._replace(lease=lease._replace(head=record.place), log=(*state.log, record))
        return f"request {one}: edit", _answered(edited, one), False

    def _key_is_used(self, state: State, one: int) -> bool:
        if not self._keeps("idempotency"):
            return False
        same = [other for other in range(len(self.plan)) if self.same_key(one, other)]
        return any(state.runs[other].keyed for other in same)

    def same_key(self, one: int, other: int) -> bool:
        """Whether two requests have the same idempotency key."""
        first = [at for at in (one, other) if at == 0 or self.plan[at] == "repeat"]
        return one == other or len(first) == 2

    # ------------------------------------------------------------------ cancel, delete, create

    def _cancel(self, state: State, one: int, client: Client) -> Iterator[Move]:
        kind: Cancel = "rollback" if self.plan[one] == "revoke" else "interrupt"
        if client.stage == "cancel active":
            yield self._cancel_active(state, one, client.target, kind) or _look_again(state, one)
            return
        if client.stage == "cancel queued":
            yield self._cancel_queued(state, one, client.target, kind) or _look_again(state, one)
            return
        if client.stage == "claim":
            yield from self._end_cancelled(state, one, client.target)
            return
        nothing = True
        for target, run in enumerate(state.runs):
            if state.lease.deleted or not (run.marker or state.lease.run == target):
                continue
            nothing = False
            stage: Literal["cancel queued", "cancel active"] = (
                "cancel queued" if run.marker else "cancel active"
            )
            move = self._cancel_queued if run.marker else self._cancel_active
            yield move(state, one, target, kind) or _look_again(state, one)
            yield from _pause(
                f"request {one}: reads, to {stage} {target}", _client(state, one, Client(stage, target))
            )
        if nothing:
            yield f"request {one}: nothing to cancel", _answered(state, one), False

    def _cancel_active(self, state: State, one: int, target: int, kind: Cancel) -> Move | None:
        lease = state.lease
        if lease.run == NOBODY or (lease.run != target and self._keeps("cancel: run")):
            return None
        stays = lease.cancel == "rollback" and self._keeps("cancel: rollback stays")
        cancelled = _with_run(state, target, _asked(state.runs[target], kind))._replace(
            lease=lease._replace(cancel="rollback" if stays else kind)
        )
        if lease.owner:
            after = _answered(cancelled, one)
        else:  # nobody would see it: end it here, or let a worker do so if there is something to undo or keep
            after = _client(cancelled, one, Client("dispatch" if lease.steps else "claim", target))
        return f"request {one}: cancel active {target} ({kind})", after, False

    def _end_cancelled(self, state: State, one: int, target: int) -> Iterator[Move]:
        answered = _answered(state, one)
        if self._claimable(state, target):
            yield f"request {one}: claim {target}", self._claimed(answered, target), False
        else:
            yield f"request {one}: {target} is claimed or gone", answered, False
        yield from _crash(f"request {one}: dies before its claim", answered)

    def _cancel_queued(self, state: State, one: int, target: int, kind: Cancel) -> Move | None:
        lease, run = state.lease, state.runs[target]
        if (lease.run == NOBODY and self._keeps("cancel queued: run")) or (
            not run.marker and self._keeps("cancel queued: marker")
        ):
            return None
        status: Status = "removed" if kind == "rollback" else "interrupted"
        ended = _asked(run, kind)._replace(marker=False, status=status)
        after = _with_run(state, target, ended)._replace(lease=lease._replace(waiting=lease.waiting - 1))
        return f"request {one}: cancel queued {target}", _answered(after, one), False

    def _delete_run(self, state: State, one: int, client: Client) -> Iterator[Move]:
        """Delete a finished run; one in flight or queued has to be cancelled first."""
        lease = state.lease
        finished = False
        for target, run in enumerate(state.runs):
            if lease.deleted or run.status not in ROWS or client.target not in (NOBODY, target):
                continue
            if client.stage == "open":  # it may still be queued now, and in flight when that is looked up
                read = _client(state, one, Client("forget", target))
                if lease.run != target:
                    yield from _pause(f"request {one}: reads that {target} is not in flight", read)
            if not run.marker and (lease.run != target or self._misses_run_in_flight(client)):
                gone = _with_run(state, target, run._replace(status="forgotten"))
                yield f"request {one}: forget {target}", _answered(gone, one), False
                finished = True
        if not finished:
            yield f"request {one}: nothing to forget", _answered(state, one), False

    def _misses_run_in_flight(self, client: Client) -> bool:
        return client.stage == "forget" and not self._keeps("forget: run")

    def _delete_thread(self, state: State, one: int) -> Move:
        if state.lease.deleted:
            return f"request {one}: not found", _answered(state, one), False
        deletion = one + 1
        if self._keeps("delete: owner"):
            lease = Lease(seq=state.lease.seq, deleted=deletion)
        else:
            lease = state.lease._replace(deleted=deletion)
        deleted = state._replace(lease=lease)
        return f"request {one}: delete the thread", _client(deleted, one, Client("purge")), False

    def _create_thread(self, state: State, one: int) -> Iterator[Move]:
        lease = state.lease
        if not lease.deleted:
            yield f"request {one}: exists", _answered(state, one), False
        elif lease.purged or not self._keeps("create: purged"):
            created = state._replace(lease=lease._replace(deleted=0, purged=False))
            yield f"request {one}: create the thread", _answered(created, one), False

    # ------------------------------------------------------------------ messages and claims

    def _claimable(self, state: State, run: int) -> bool:
        lease = state.lease
        if lease.run != run and (self._keeps("claim: run") or lease.run == NOBODY):
            return False
        if lease.owner and lease.live:
            return False
        return not (state.runs[run].early and not lease.cancel and self._keeps("claim: due"))

    def _claimed(
        self, state: State, run: int, *, failing: bool = False, shown: bool = True, execution: int = 0
    ) -> State:
        """Claim a run, and show so; whoever claims it once too often ends it as an error."""
        lease, owner = state.lease, _new_token(state)
        step = lease.steps if self._keeps("fed") else 0
        worker = Worker(
            owner,
            run,
            step,
            failing=failing or lease.attempt >= PATIENCE,
            shown=shown,
            execution=execution,
            settles=self.plan[run] == "assumed" and not state.runs[run].settled,
            keep=lease.keep and self._keeps("keep: found"),
        )
        claimed = state._replace(
            lease=lease._replace(owner=owner, live=True, attempt=lease.attempt + 1),
            workers=_plus(state.workers, worker),
        )
        return self._shown(claimed, run) if shown else claimed

    def _shown(self, state: State, run: int) -> State:
        row = state.runs[run]
        if row.status not in UNFINISHED and self._keeps("show: unfinished"):
            return state
        return _with_run(state, run, row._replace(status="running"))

    def _deliver(self, state: State, run: int) -> Iterator[Move]:
        lease, budget = state.lease, state.budget
        if budget.duplicates:
            twice = _sent(state, run)._replace(budget=budget._replace(duplicates=budget.duplicates - 1))
            yield f"message {run} comes twice", twice, True
        rest = state._replace(messages=_minus(state.messages, run))
        if self._claimable(state, run):
            if len(state.workers) < _MOST_WORKERS:
                yield f"claim {run}", self._claimed(rest, run), False
                yield from _pause(f"claim {run}, to be shown", self._claimed(rest, run, shown=False))
                yield from _crash(f"message {run} is given up: claim", self._claimed(rest, run, failing=True))
        elif lease.run != run or lease.owner:
            yield f"message {run} has nothing to do", rest, False
        # else it is not due: the message comes again

    def _slice(self, state: State, run: int, number: int) -> Iterator[Move]:
        """An execution of the workflow asks for a slice, unless it waits for the answer of one."""
        lease, name = state.lease, f"execution {run}-{number}"
        executions = state.executions
        if any(worker.run == run and worker.execution == number for worker in state.workers):
            return
        over = state._replace(executions=executions._replace(living=_minus(executions.living, (run, number))))
        yield from _crash(f"{name} is stopped", over)
        if lease.run != run or lease.execution > number:
            yield f"{name} has nothing to do", over, False
        elif self._claimable(state, run) and len(state.workers) < _MOST_WORKERS:
            yield f"{name}: claim", self._claimed(state, run, execution=number), False
        # else it waits until the lease is over

    # ------------------------------------------------------------------ a worker

    def _work(self, state: State, worker: Worker) -> Iterator[Move]:
        lease, run, name = state.lease, worker.run, f"worker {worker.owner}"
        away = state._replace(workers=_minus(state.workers, worker))
        yield from _crash(f"{name} dies", away)
        if not worker.shown:
            yield (
                f"{name} shows {run}",
                self._shown(_became(state, worker, worker._replace(shown=True)), run),
                False,
            )
        if worker.settles and (
            lease.owner == worker.owner or (lease.run != NOBODY and not self._keeps("keep: owner"))
        ):
            yield self._settle(state, worker)
        mine = lease.owner == worker.owner or (not self._keeps("fence") and lease.run != NOBODY)
        if not mine:
            yield f"{name} is fenced off", away, False
            return
        yield from self._finish_decided(state, worker, away)
        if worker.view is not None:
            return
        if lease.cancel == "rollback":
            yield from self._roll_back(state, worker)
        may_commit = not (lease.cancel and self._keeps("commit: cancel"))
        may_commit &= not (worker.settles and self._keeps("settle: first"))
        if may_commit and worker.step < self.supersteps and not worker.failing:
            yield self._commit(state, worker)
        yield from self._end_slice(state, worker, away)

    def _settle(self, state: State, worker: Worker) -> Move:
        """Write a run again with what its assistant says: a webhook, for which its rows are to stay."""
        settled = _became(state, worker, worker._replace(settles=False, keep=True))
        row = state.runs[worker.run]._replace(settled=True)
        after = _with_run(settled, worker.run, row)._replace(lease=state.lease._replace(keep=True))
        return f"worker {worker.owner}: settle {worker.run}", after, False

    def _commit(self, state: State, worker: Worker) -> Move:
        lease, run, step = state.lease, worker.run, worker.step
        record = Record(run, step, (run, step - 1) if step else lease.base)
        after = lease._replace(live=True, attempt=0, steps=step + 1, head=record.place)
        committed = _became(state, worker, worker._replace(step=step + 1))
        committed = committed._replace(lease=after, log=(*state.log, record))
        return f"worker {worker.owner}: commit {run}.{step}", committed, False

    def _roll_back(self, state: State, worker: Worker) -> Iterator[Move]:
        """Hide what the run has left, then remove it: records one by one, the newest first."""
        lease, run, name = state.lease, worker.run, f"worker {worker.owner}"
        if not lease.undo:
            hidden = lease._replace(undo=True, head=lease.base if self._keeps("undo: head") else lease.head)
            yield f"{name}: undo {run} begins", state._replace(lease=hidden), False
        elif left := [record for record in state.log if record.run == run]:
            log = tuple(record for record in state.log if record != left[-1])
            yield f"{name}: undo {run}.{left[-1].step}", state._replace(log=log), False

    def _end_slice(self, state: State, worker: Worker, away: State) -> Iterator[Move]:
        budget = state.budget
        if not budget.slices:
            return
        moves = not state.lease.execution
        lease = state.lease._replace(owner=0, live=True, attempt=0, execution=max(1, state.lease.execution))
        ended = away._replace(lease=lease, budget=budget._replace(slices=budget.slices - 1))
        name = f"worker {worker.owner}: end of slice"
        if not moves:  # the execution that asked for it asks for the next
            yield name, ended, True
            return
        yield name, _begun(ended, worker.run, 1), True
        yield from _crash(f"{name}, dies before dispatch", ended)

    def _finish_decided(self, state: State, worker: Worker, away: State) -> Iterator[Move]:
        """Finish, if what is known of the lease says that the run is over."""
        lease, view = state.lease, worker.view or look(state.lease)
        status = self._outcome(state, worker, view)
        if not status:
            return
        name = f"worker {worker.owner}: finish {worker.run} as {status}"
        if worker.view is None:
            yield from _pause(f"{name}, reads", _became(state, worker, worker._replace(view=view)))
        elif (
            (lease.seq != view.seq and self._keeps("finish: seq"))
            or (lease.waiting != view.waiting and self._keeps("finish: waiting"))
            or (lease.cancel != view.cancel and lease.cancel == "rollback" and self._keeps("finish: cancel"))
        ):
            yield f"{name}: looks again", _became(state, worker, worker._replace(view=None)), False
            return
        if self.plan[worker.run] == "assumed" and not worker.keep and status != "removed":
            status = "gone"
        finished, successor = self._finished(away, worker.run, view, status)
        if successor == NOBODY:
            yield name, finished, False
        else:
            yield f"{name}, hand over to {successor}", _sent(finished, successor), False
            yield from _crash(f"{name}, dies before dispatch of {successor}", finished)

    def _outcome(self, state: State, worker: Worker, view: View) -> Status:
        """What the run ends as; nothing while it is not over."""
        if worker.failing and (view.cancel != "rollback" or not self._keeps("undo before give up")):
            return "error"
        if view.cancel == "rollback":
            left = any(record.run == worker.run for record in state.log)
            undone = state.lease.undo and not left
            return "removed" if undone or not self._keeps("undo before free") else ""
        if worker.step == self.supersteps:
            return "success"
        return "interrupted" if view.cancel else ""

    def _finished(self, state: State, run: int, view: View, status: Status) -> tuple[State, int]:
        """End the run and the ones that are superseded; free the thread, or hand it to the oldest in the queue."""
        lease, runs, waiting = state.lease, list(state.runs), view.waiting
        if runs[run].status in ROWS:
            runs[run] = runs[run]._replace(status=status)
        for one, queued in enumerate(runs):
            if queued.marker and queued.seq < view.upto:
                ended: Status = "removed" if view.drop == "rollback" else "interrupted"
                runs[one] = queued._replace(marker=False, status=ended)
                waiting -= 1
        markers = [
            (queued.seq, one) for one, queued in enumerate(runs) if queued.marker and queued.seq <= view.seq
        ]
        after = Lease(waiting=waiting, seq=lease.seq, head=lease.head, deleted=lease.deleted)
        successor = NOBODY
        if markers:
            successor = min(markers)[1] if self._keeps("oldest first") else max(markers)[1]
            runs[successor] = runs[successor]._replace(marker=False)
            after = after._replace(
                run=successor,
                live=True,
                waiting=waiting - 1,
                yields=self.plan[successor] == "yielding",
                base=lease.head,
            )
        return state._replace(lease=after, runs=tuple(runs)), successor

    # ------------------------------------------------------------------ the purge of a deleted thread

    def _deliver_purge(self, state: State) -> Iterator[Move]:
        lease, budget = state.lease, state.budget
        rest = state._replace(purges=state.purges - 1)
        if budget.duplicates:
            twice = budget._replace(duplicates=budget.duplicates - 1)
            yield "purge message comes twice", state._replace(purges=state.purges + 1, budget=twice), True
        if not lease.deleted or lease.purged:
            yield "purge message has nothing to do", rest, False
        elif len(state.purgers) < _MOST_WORKERS:
            purgers = _plus(state.purgers, Purger(lease.deleted))
            yield f"purge of deletion {lease.deleted}", rest._replace(purgers=purgers), False

    def _purge(self, state: State, purger: Purger) -> Iterator[Move]:
        lease, name = state.lease, f"purge of deletion {purger.deleted}"
        away = state._replace(purgers=_minus(state.purgers, purger))
        yield from _crash(f"{name} dies", away)
        same = lease.deleted == purger.deleted and not lease.purged
        left = _one_less(state)
        if purger.empty or left is None:
            if not purger.empty:
                purgers = _plus(away.purgers, purger._replace(empty=True))
                yield from _pause(f"{name} finds nothing", state._replace(purgers=purgers))
            if same or (not self._keeps("purge: same deletion") and lease.deleted):
                yield f"{name}: mark", away._replace(lease=lease._replace(purged=True)), False
            else:
                yield f"{name} is too late", away, False
        elif same or not self._keeps("purge: still buried"):
            yield f"{name}: remove", left, False
        else:
            yield f"{name} is too late", away, False

    # ------------------------------------------------------------------ time

    def _pass_time(self, state: State) -> Iterator[Move]:
        lease, budget = state.lease, state.budget
        for one, run in enumerate(state.runs):
            if run.early:
                yield f"{one} is due", _with_run(state, one, run._replace(early=False)), False
        if lease.deleted and not lease.purged and self._keeps("sweep") and not _purge_is_coming(state):
            yield "sweep: purge", state._replace(purges=1), False
        if lease.run == NOBODY:
            return
        if lease.live:
            expired = state._replace(lease=lease._replace(live=False))
            if budget.expiries and lease.owner:
                spent = budget._replace(expiries=budget.expiries - 1)
                yield "lease expires early", expired._replace(budget=spent), True
            if not _is_attended(state):
                yield "lease expires", expired, False
        elif lease.execution and self._keeps("sweep"):
            yield from self._move(state)
        elif lease.run not in state.messages and self._keeps("sweep"):
            yield f"sweep: message {lease.run}", _sent(state, lease.run), False

    def _move(self, state: State) -> Iterator[Move]:
        """Start another execution; one that still goes on is moved only as often as the budget has duplicates."""
        lease, budget = state.lease, state.budget
        living = any(
            run == lease.run and number >= lease.execution for run, number in state.executions.living
        )
        if living and not budget.duplicates:
            return
        if living:
            state = state._replace(budget=budget._replace(duplicates=budget.duplicates - 1))
        number = lease.execution + 1 if self._keeps("move: counts on") else lease.execution
        moved = state._replace(lease=lease._replace(execution=number))
        yield f"sweep: execution {lease.run}-{number}", _begun(moved, lease.run, number), living
        yield from _crash(f"sweep: dies before execution {lease.run}-{number}", moved)


# ---------------------------------------------------------------------- parts of moves


def _with_run(state: State, one: int, run: Run) -> State:
    return state._replace(runs=(*state.runs[:one], run, *state.runs[one + 1 :]))


def _asked(run: Run, what: Cancel) -> Run:
    return run if run.asked == "rollback" else run._replace(asked=what)


def _client(state: State, one: int, client: Client) -> State:
    return state._replace(clients=(*state.clients[:one], client, *state.clients[one + 1 :]))


def _answered(state: State, one: int) -> State:
    return _client(state, one, Client("done"))


def _refused(state: State, one: int) -> State:
    return _with_run(_answered(state, one), one, Run("refused"))


def _look_again(state: State, one: int) -> Move:
    return f"request {one}: refused, looks again", _client(state, one, Client()), False


def _sent(state: State, run: int) -> State:
    return state._replace(messages=_plus(state.messages, run))


def _begun(state: State, run: int, number: int) -> State:
    """Start an execution of the workflow; nothing happens when there was one of this name."""
    started, living = state.executions
    if (run, number) in started:
        return state
    execution = (run, number)
    return state._replace(executions=Executions(_plus(started, execution), _plus(living, execution)))


def _became(state: State, before: Worker, after: Worker) -> State:
    return state._replace(workers=_plus(_minus(state.workers, before), after))


def _crash(what: str, after: State) -> Iterator[Move]:
    budget = after.budget
    if budget.crashes:
        yield what, after._replace(budget=budget._replace(crashes=budget.crashes - 1)), True


def _pause(what: str, after: State) -> Iterator[Move]:
    budget = after.budget
    if budget.pauses:
        yield what, after._replace(budget=budget._replace(pauses=budget.pauses - 1)), True


def _new_token(state: State) -> int:
    used = {state.lease.owner, *(worker.owner for worker in state.workers)}
    return next(token for token in range(1, len(used) + 2) if token not in used)


def _one_less(state: State) -> State | None:
    """Remove one thing that a deleted thread has left; None when there is nothing."""
    if state.log:
        return state._replace(log=state.log[:-1])
    for one, run in enumerate(state.runs):
        if run.status in ROWS or run.marker or run.keyed:
            return _with_run(state, one, Run("forgotten"))
    return None


def _purge_is_coming(state: State) -> bool:
    return bool(state.purges or state.purgers or any(client.stage == "purge" for client in state.clients))


def _is_attended(state: State) -> bool:
    """Whether somebody is about to move the run in flight, or it is not due: its lease does not expire by itself."""
    lease = state.lease
    if lease.run in state.messages or (not lease.owner and state.runs[lease.run].early):
        return True
    if any(worker.owner == lease.owner for worker in state.workers):
        return True
    if not lease.owner and any(
        run == lease.run and number >= lease.execution for run, number in state.executions.living
    ):
        return True
    return any(client.stage in {"dispatch", "claim"} for client in state.clients)


def _plus(items: tuple[T, ...], item: T) -> tuple[T, ...]:
    """Add an item to a bag; in order, so that two equal bags are one state."""
    return tuple(sorted((*items, item)))


def _minus(items: tuple[T, ...], item: T) -> tuple[T, ...]:
    at = items.index(item)
    return items[:at] + items[at + 1 :]
