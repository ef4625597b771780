"""The sweep: what nobody does any more is sent again or ended, and one failure stops nothing else."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aws_lambda_powertools import Logger
from botocore.exceptions import EndpointConnectionError

from crewline.errors import Unavailable
from crewline.models.crons import CronCreate
from crewline.models.events import Batch, Frame, Position
from crewline.models.leases import GRACE_MS, LEASE_MS, SLICE_GRACE_MS, Claim
from crewline.models.runs import RunCreate
from crewline.models.threads import ThreadCreate
from crewline.services.endings import Outcome
from crewline.services.expiries import Expiries
from crewline.services.runs import RETENTION_S
from crewline.services.sweeps import MAX_DEAD_LETTERS, SET_ASIDE_S, Sweeper, Swept
from crewline.store import events, keys, leases
from crewline.store.changes import Put, Update
from crewline.store.keys import Key
from crewline.store.queues import DeadLetters, PurgeJob, RunJob, RunQueue
from crewline.store.runs import LARGEST_INLINE
from crewline.store.workflows import SliceJob
from tests.unit.store.worlds import TENANT, Calls, World, sealed

MINUTE = 60_000
BUILD, NEW_BUILD = "b" * 32, "c" * 32


class Recorder:
    """Endings and outbox that only note what they are asked for."""

    def __init__(self) -> None:
        self.given_up: list[tuple[str, str, str, str]] = []
        self.published: list[Key] = []
        self.finds = True
        self.failures: list[Exception] = []

    def give_up(self, tenant: str, thread_id: str, run_id: str, reason: str) -> bool:
        self._fail()
        self.given_up.append((tenant, thread_id, run_id, reason))
        return self.finds

    def publish(self, key: Key) -> None:
        self._fail()
        self.published.append(key)

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop()


@dataclass(slots=True)
class Sweeps:
    """A sweeper over a world."""

    world: World
    dead_letter_url: str
    recorder: Recorder = field(default_factory=Recorder)
    log: io.StringIO = field(default_factory=io.StringIO)
    build: str = BUILD
    sweeper: Sweeper = field(init=False)

    def __post_init__(self) -> None:
        self.sweeper = Sweeper(
            table=self.world.table,
            queue=self.world.queue,
            dispatches=self.world.dispatches,
            dead_letters=DeadLetters(self.world.cloud.sqs, self.dead_letter_url),
            endings=self.recorder,
            outbox=self.recorder,
            crons=self.world.crons,
            expiries=Expiries(
                self.world.table, self.world.queue, self.world.clock, threads=self.world.threads
            ),
            versions=self.world.versions,
            build=self.build,
            clock=self.world.clock,
            logger=Logger(service=self.world.name, stream=self.log),
            measures=self.world.measures,
        )

    def sweep(self, remaining_ms: Callable[[], int] = lambda: MINUTE) -> Swept:
        return self.sweeper.sweep(remaining_ms)

    def errors(self) -> list[str]:
        lines = map(json.loads, self.log.getvalue().splitlines())
        return [line["message"] for line in lines if line["level"] == "ERROR"]

    def die_unheard(self, body: str | RunJob | PurgeJob) -> None:
        """Put a message where SQS puts those that nobody could handle."""
        if isinstance(body, str):
            self.world.cloud.sqs.send_message(QueueUrl=self.dead_letter_url, MessageBody=body)
        else:
            RunQueue(self.world.cloud.sqs, self.dead_letter_url).send(body)

    def dead_letters(self) -> tuple[int, int]:
        """How many dead letters can be received now, and how many are hidden."""
        answer = self.world.cloud.sqs.get_queue_attributes(
            QueueUrl=self.dead_letter_url, AttributeNames=["All"]
        )["Attributes"]
        visible = answer["ApproximateNumberOfMessages"]
        return int(visible), int(answer["ApproximateNumberOfMessagesNotVisible"])


@pytest.fixture
def sweeps(world: World) -> Sweeps:
    url = world.cloud.sqs.create_queue(QueueName=f"{world.name}-dead")["QueueUrl"]
    world.versions.number(BUILD)  # as every sweep but the first finds it
    return Sweeps(world, url)


@pytest.fixture
def deployed(sweeps: Sweeps) -> Sweeps:
    """The first sweeps of a new build."""
    return Sweeps(sweeps.world, sweeps.dead_letter_url, build=NEW_BUILD)


def started(world: World, *, delay_s: int = 0) -> RunJob:
    """A run that was accepted and whose message was lost."""
    thread_id = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    body = RunCreate(assistant_id="echo", after_seconds=delay_s)
    run = world.runs.create(TENANT, thread_id, body)
    world.messages()
    return RunJob(tenant=TENANT, thread_id=thread_id, run_id=run.run_id)


def claimed(world: World, job: RunJob) -> Claim:
    claim = world.leases.claim(job.tenant, job.thread_id, job.run_id)
    assert isinstance(claim, Claim)
    return claim


def left_by(world: World, claims: int) -> RunJob:
    """A run that so many workers took up and then died of."""
    job = started(world)
    for _ in range(claims):
        claimed(world, job)
        world.clock.pass_(LEASE_MS + 1)
    return job


def deleted(world: World) -> PurgeJob:
    """A thread that was deleted and whose purge was lost."""
    thread_id = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    world.threads.delete(TENANT, thread_id)
    world.messages()
    return PurgeJob(tenant=TENANT, thread_id=thread_id)


def unpublished(world: World, run_id: str) -> Key:
    """An item of the outbox that nobody has published."""
    key = keys.outbox(TENANT, run_id, world.clock())
    world.table.write(Put(key=key, item={"n": 1, **keys.in_flight(run_id, world.clock())}))
    return key


# ------------------------------------------------------------------ crons


def test_schedules_that_are_not_in_line_with_their_cron_are_brought_there(sweeps: Sweeps) -> None:
    world = sweeps.world
    world.scheduler.down = True
    cron = world.crons.create(TENANT, CronCreate(assistant_id="echo", schedule="0 9 * * *"))
    assert sweeps.sweep() == Swept(), "its maker may be at it"
    world.clock.pass_(GRACE_MS)
    assert sweeps.sweep() == Swept(failed=1)
    world.scheduler.down = False
    assert sweeps.sweep() == Swept(scheduled=1)
    assert world.scheduler.expressions == ["cron(0 9 * * ? *)"]
    world.scheduler.down = True
    world.crons.delete(TENANT, cron.cron_id)
    world.scheduler.down = False
    world.clock.pass_(GRACE_MS)
    assert sweeps.sweep() == Swept(scheduled=1)
    assert world.scheduler.there == {}
    assert sweeps.sweep() == Swept()


# ------------------------------------------------------------------ runs


def test_a_world_in_order_leaves_nothing_to_do(sweeps: Sweeps) -> None:
    assert sweeps.sweep() == Swept()


def test_what_is_deployed_has_its_version_from_the_first_sweep_on(deployed: Sweeps) -> None:
    with Calls(deployed.world.cloud.dynamodb, "PutItem") as writes:
        deployed.sweep()
        deployed.sweep()
    assert len(writes.requests) == 1
    assert [(one.number, one.build) for one in deployed.world.versions.list()] == [(2, NEW_BUILD), (1, BUILD)]


def test_a_version_that_cannot_be_written_stops_no_sweep_and_is_tried_again(deployed: Sweeps) -> None:
    started(deployed.world)
    deployed.world.clock.pass_(GRACE_MS + 1)
    deployed.world.messages()
    with Calls(deployed.world.cloud.dynamodb, "PutItem") as writes:
        writes.failures.append(EndpointConnectionError(endpoint_url="https://dynamodb.example"))
        assert deployed.sweep() == Swept(failed=1, redispatched=1)
        assert deployed.sweep().failed == 0
    assert [one.build for one in deployed.world.versions.list()] == [NEW_BUILD, BUILD]


def test_a_run_whose_owner_died_is_sent_again_once_its_claim_is_over(sweeps: Sweeps) -> None:
    world = sweeps.world
    job = started(world)
    claimed(world, job)
    world.clock.pass_(LEASE_MS)
    assert sweeps.sweep() == Swept()
    world.clock.pass_(1)
    assert sweeps.sweep() == Swept(redispatched=1)
    assert world.messages() == [job.model_dump()]
    assert world.metrics() == [{"service": "test", "SweptRedispatched": 1}]


def test_a_run_whose_message_was_lost_is_sent_again_after_its_grace(sweeps: Sweeps) -> None:
    job = started(sweeps.world)
    sweeps.world.clock.pass_(GRACE_MS)
    assert sweeps.sweep() == Swept()
    sweeps.world.clock.pass_(1)
    assert sweeps.sweep() == Swept(redispatched=1)
    assert sweeps.world.messages() == [job.model_dump()]


def parted(world: World) -> Claim:
    """A run between two slices, whose next one nobody has begun."""
    claim = claimed(world, started(world))
    return replace(claim, lease=world.leases.end_slice(claim, longest=0))


def test_a_run_between_two_slices_is_left_to_its_workflow_for_a_while(sweeps: Sweeps) -> None:
    parted(sweeps.world)
    sweeps.world.clock.pass_(SLICE_GRACE_MS)
    assert sweeps.sweep() == Swept()


def test_a_run_whose_workflow_stopped_goes_on_in_another_execution(sweeps: Sweeps) -> None:
    world = sweeps.world
    claim = parted(world)
    world.clock.pass_(SLICE_GRACE_MS + 1)
    assert sweeps.sweep() == Swept(redispatched=1)
    assert world.messages() == []
    job = SliceJob(tenant=TENANT, thread_id=claim.thread_id, run_id=claim.run_id, execution=2)
    assert world.executions.started == {f"{claim.run_id}-2": job.model_dump()}


def test_a_move_that_landed_although_its_answer_was_lost_starts_its_execution(sweeps: Sweeps) -> None:
    world = sweeps.world
    claim = parted(world)
    world.clock.pass_(SLICE_GRACE_MS + 1)
    with Calls(world.cloud.dynamodb, "UpdateItem") as calls:
        calls.twice = True
        assert sweeps.sweep() == Swept(redispatched=1)
    assert list(world.executions.started) == [f"{claim.run_id}-2"]


def test_a_run_that_was_claimed_while_it_was_swept_is_left_to_its_worker(sweeps: Sweeps) -> None:
    world = sweeps.world
    claim = parted(world)
    lease = leases.from_item(world.lease(claim.thread_id))
    assert isinstance(world.leases.claim(TENANT, claim.thread_id, claim.run_id, execution=1), Claim)
    assert not world.dispatches.again(TENANT, claim.thread_id, lease)
    assert world.executions.started == {}


def test_each_sweep_of_a_run_whose_slice_died_starts_an_execution_of_its_own(sweeps: Sweeps) -> None:
    """The name of one that has ended cannot be used again."""
    world = sweeps.world
    claim = parted(world)
    assert isinstance(world.leases.claim(TENANT, claim.thread_id, claim.run_id, execution=1), Claim)
    world.clock.pass_(LEASE_MS + 1)
    assert sweeps.sweep() == Swept(redispatched=1)
    assert sweeps.sweep() == Swept(redispatched=1)
    assert list(world.executions.started) == [f"{claim.run_id}-2", f"{claim.run_id}-3"]


def test_a_run_that_is_executed_is_left_alone_however_long_it_takes(sweeps: Sweeps) -> None:
    claim = claimed(sweeps.world, started(sweeps.world))
    for _ in range(20):
        sweeps.world.clock.pass_(LEASE_MS)
        sweeps.world.leases.heartbeat(claim)
        assert sweeps.sweep() == Swept()


def test_a_delayed_run_is_sent_again_only_once_it_is_overdue(sweeps: Sweeps) -> None:
    started(sweeps.world, delay_s=600)
    sweeps.world.clock.pass_(600_000 + GRACE_MS)
    assert sweeps.sweep() == Swept()
    sweeps.world.clock.pass_(1)
    assert sweeps.sweep() == Swept(redispatched=1)


def test_a_run_that_is_not_due_is_left_alone_whatever_its_claim_says(sweeps: Sweeps) -> None:
    job = left_by(sweeps.world, 1)
    lease = keys.lease(TENANT, job.thread_id)
    sweeps.world.table.write(Update(key=lease, set={"due": sweeps.world.clock() + 1}))
    assert sweeps.sweep() == Swept()


def test_a_run_that_three_workers_left_without_progress_is_given_up(sweeps: Sweeps) -> None:
    twice = left_by(sweeps.world, 2)
    thrice = left_by(sweeps.world, 3)
    assert sweeps.sweep() == Swept(redispatched=1, given_up=1)
    assert sweeps.world.messages() == [twice.model_dump()]
    [(tenant, thread_id, run_id, reason)] = sweeps.recorder.given_up
    assert (tenant, thread_id, run_id) == (TENANT, thrice.thread_id, thrice.run_id)
    assert reason.startswith("3 workers in a row ended")


def test_a_run_that_got_on_is_not_given_up(sweeps: Sweeps) -> None:
    job = left_by(sweeps.world, 2)
    sweeps.world.leases.commit(claimed(sweeps.world, job), [sealed(1)])
    sweeps.world.clock.pass_(LEASE_MS + 1)
    assert sweeps.sweep() == Swept(redispatched=1)


def test_a_run_that_ended_before_it_was_given_up_does_not_count(sweeps: Sweeps) -> None:
    left_by(sweeps.world, 3)
    sweeps.recorder.finds = False
    assert sweeps.sweep() == Swept()


def test_an_index_that_is_behind_decides_nothing(sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch) -> None:
    world = sweeps.world
    claim = claimed(world, started(world))
    freed = {"run": None, "owner": None, "until": None}
    world.table.write(Update(key=keys.lease(TENANT, claim.thread_id), set=freed))
    purged = deleted(world).thread_id
    world.threads.purge(TENANT, purged)
    places = (claim.thread_id, purged, "gone")
    behind = {
        keys.LEASES_IN_FLIGHT: [keys.lease(TENANT, thread_id) for thread_id in places],
        keys.THREADS_EXPIRING: [keys.thread(TENANT, thread_id) for thread_id in places],
    }
    monkeypatch.setattr(type(world.table), "query_index", lambda _, index, *__, **___: iter(behind[index]))
    world.clock.pass_(LEASE_MS + 1)
    assert sweeps.sweep() == Swept()
    assert world.messages() == []


def test_a_run_that_ends_while_it_is_swept_stays_readable_for_its_time_and_then_nothing_of_it_is_left(
    sweeps: Sweeps, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = sweeps.world
    before = world.items()
    body = RunCreate(assistant_id="echo", input={"text": "x" * LARGEST_INLINE})
    run = world.runs.create_stateless(TENANT, body, keep_s=RETENTION_S)
    world.messages()
    claim = claimed(world, RunJob(tenant=TENANT, thread_id=run.thread_id, run_id=run.run_id))
    frame = Frame(position=Position(1, 1), mode="custom", data=b"{}")
    said = Batch(frames=(frame,))
    world.table.write(
        events.put(TENANT, run.thread_id, run.run_id, said, blobs=world.blobs, now=world.clock())
    )
    world.clock.pass_(GRACE_MS + 1)
    read = type(world.table).query_index

    def read_before_it_ends(*args: Any, **more: Any) -> Iterator[Key]:
        found = list(read(*args, **more))
        if found and not world.runs.find(TENANT, run.run_id).finished:
            world.endings.finish(claim, Outcome(status="success", thread_status="idle"), [sealed(1)])
        return iter(found)

    monkeypatch.setattr(type(world.table), "query_index", read_before_it_ends)
    assert sweeps.sweep() == Swept()
    world.clock.pass_(RETENTION_S * 1000 - 1)
    assert sweeps.sweep() == Swept()
    assert (world.messages(), world.runs.find(TENANT, run.run_id).status) == ([], "success")
    world.clock.pass_(1)
    assert sweeps.sweep() == Swept(purges=1)
    world.threads.purge(TENANT, run.thread_id)
    assert world.items().keys() - before.keys() == {keys.lease(TENANT, run.thread_id)}
    assert (world.lease(run.thread_id)["purged"], world.objects()) == (True, [])


# ------------------------------------------------------------------ purges and the outbox


def test_the_purge_of_a_deleted_thread_is_sent_again_until_it_is_over(sweeps: Sweeps) -> None:
    job = deleted(sweeps.world)
    assert sweeps.sweep() == Swept(), "its own message is still on the way"
    sweeps.world.clock.pass_(GRACE_MS)
    assert sweeps.sweep() == Swept(purges=1)
    assert sweeps.world.messages() == [job.model_dump()]
    sweeps.world.threads.purge(TENANT, job.thread_id)
    assert sweeps.sweep() == Swept()


def test_what_was_not_published_is(sweeps: Sweeps) -> None:
    key = unpublished(sweeps.world, "r1")
    assert sweeps.sweep() == Swept(), "whoever wrote it is about to"
    sweeps.world.clock.pass_(GRACE_MS)
    assert sweeps.sweep() == Swept(published=1)
    assert sweeps.recorder.published == [key]


# ------------------------------------------------------------------ reading


def test_a_sweep_reads_every_shard_and_never_scans(sweeps: Sweeps) -> None:
    with (
        Calls(sweeps.world.cloud.dynamodb, "Query") as queries,
        Calls(sweeps.world.cloud.dynamodb, "Scan") as scans,
    ):
        sweeps.sweep()
    asked = [request["ExpressionAttributeValues"][":pk"]["S"] for request in queries.requests]
    assert sorted(asked) == sorted((*keys.flight_shards(), *keys.expiry_shards()))
    assert scans.requests == []


def test_each_shard_is_the_first_in_its_turn(sweeps: Sweeps) -> None:
    firsts = []
    for _ in keys.flight_shards():
        with Calls(sweeps.world.cloud.dynamodb, "Query") as queries:
            sweeps.sweep()
        firsts.append(queries.requests[0]["ExpressionAttributeValues"][":pk"]["S"])
        sweeps.world.clock.pass_(MINUTE)
    assert set(firsts) == set(keys.flight_shards())


def test_a_sweep_that_is_short_of_time_leaves_the_rest_to_the_next(sweeps: Sweeps) -> None:
    for _ in range(5):
        started(sweeps.world)
    sweeps.world.clock.pass_(GRACE_MS + 1)
    left = iter([MINUTE, MINUTE, MINUTE, 9_000])  # the version first
    assert sweeps.sweep(lambda: next(left)) == Swept(redispatched=2, complete=False)
    assert sweeps.sweep() == Swept(redispatched=5)


# ------------------------------------------------------------------ failures


def test_one_item_that_fails_stops_no_other_and_is_logged_once(sweeps: Sweeps) -> None:
    for number in range(4):
        unpublished(sweeps.world, f"r{number}")
    left_by(sweeps.world, 1)
    sweeps.recorder.failures = [Unavailable("no"), ValueError("a mistake of ours")]
    assert sweeps.sweep() == Swept(redispatched=1, published=2, failed=2)
    assert sweeps.errors() == ["item not swept"] * 2
    assert sweeps.sweep() == Swept(redispatched=1, published=4)


def test_a_shard_that_cannot_be_read_stops_no_other(sweeps: Sweeps) -> None:
    for number in range(40):
        unpublished(sweeps.world, f"r{number}")
    sweeps.world.clock.pass_(GRACE_MS)
    with Calls(sweeps.world.cloud.dynamodb, "Query") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="http://db")]
        swept = sweeps.sweep()
    assert swept.failed == 1
    assert 0 < swept.published < 40
    assert sweeps.errors() == ["sweep could not read on"]


def test_a_queue_that_does_not_answer_is_a_failure_of_each_item(sweeps: Sweeps) -> None:
    left_by(sweeps.world, 1)
    with Calls(sweeps.world.cloud.sqs, "SendMessage") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="sqs")]
        assert sweeps.sweep() == Swept(failed=1)
    assert sweeps.sweep() == Swept(redispatched=1)


def test_an_entry_of_the_index_that_is_nothing_known_is_a_failure(sweeps: Sweeps) -> None:
    key = keys.run(TENANT, "t", "r")
    sweeps.world.table.write(Put(key=key, item=keys.in_flight("t", 1)))
    assert sweeps.sweep() == Swept(failed=1)


# ------------------------------------------------------------------ dead letters


def test_a_run_whose_message_came_to_nothing_is_given_up(sweeps: Sweeps) -> None:
    job = started(sweeps.world)
    sweeps.die_unheard(job)
    assert sweeps.sweep() == Swept(dead_letters=1)
    [(*place, reason)] = sweeps.recorder.given_up
    assert place == [TENANT, job.thread_id, job.run_id]
    assert reason.startswith("its message came to nothing 5 times: ")
    assert sweeps.dead_letters() == (0, 0)


def test_a_dead_letter_about_a_run_that_has_ended_goes(sweeps: Sweeps) -> None:
    sweeps.recorder.finds = False
    sweeps.die_unheard(RunJob(tenant=TENANT, thread_id="t", run_id="r"))
    assert sweeps.sweep() == Swept(dead_letters=1)
    assert sweeps.dead_letters() == (0, 0)


def test_a_purge_that_came_to_nothing_is_told_and_goes_for_its_tombstone_stays(sweeps: Sweeps) -> None:
    sweeps.die_unheard(deleted(sweeps.world))
    sweeps.world.clock.pass_(GRACE_MS)
    assert sweeps.sweep() == Swept(dead_letters=1, purges=1)
    assert sweeps.errors() == ["purge came to nothing"]
    assert sweeps.dead_letters() == (0, 0)


@pytest.mark.parametrize("body", ["x", "null", '{"kind":"launch"}', '{"kind":"run","tenant":"acme"}'])
def test_a_dead_letter_that_is_no_job_stays_and_is_told_once_an_hour(sweeps: Sweeps, body: str) -> None:
    sweeps.die_unheard(body)
    with Calls(sweeps.world.cloud.sqs, "ReceiveMessage") as calls:
        assert sweeps.sweep() == Swept()
        assert sweeps.sweep() == Swept()
    assert {request["VisibilityTimeout"] for request in calls.requests} == {SET_ASIDE_S}
    assert sweeps.errors() == ["dead letter is no job; it stays"]
    assert sweeps.dead_letters() == (0, 1)


def test_a_dead_letter_whose_run_could_not_be_ended_stays(sweeps: Sweeps) -> None:
    jobs = [started(sweeps.world) for _ in range(2)]
    for job in jobs:
        sweeps.die_unheard(job)
    sweeps.recorder.failures = [Unavailable("no")]
    assert sweeps.sweep() == Swept(dead_letters=1, failed=1)
    assert sweeps.dead_letters() == (0, 1)


def test_a_dead_letter_queue_that_does_not_answer_stops_no_lease(sweeps: Sweeps) -> None:
    left_by(sweeps.world, 1)
    with Calls(sweeps.world.cloud.sqs, "ReceiveMessage") as calls:
        calls.failures = [EndpointConnectionError(endpoint_url="sqs")]
        assert sweeps.sweep() == Swept(redispatched=1, failed=1)


def test_a_flood_of_dead_letters_does_not_keep_a_sweep_from_the_leases(sweeps: Sweeps) -> None:
    left_by(sweeps.world, 1)
    for number in range(MAX_DEAD_LETTERS + 5):
        sweeps.die_unheard(RunJob(tenant=TENANT, thread_id=f"t{number}", run_id="r"))
    assert sweeps.sweep() == Swept(dead_letters=MAX_DEAD_LETTERS, redispatched=1)
    assert sweeps.sweep() == Swept(dead_letters=5, redispatched=1)
