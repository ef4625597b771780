"""Crons: the row decides, schedules follow it, and each minute at which one is due starts one run."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from crewline.errors import BadMessage, BadRequest, InvalidRequest, KeyReused, NotFound, TooLarge, Unavailable
from crewline.models.clocks import iso
from crewline.models.crons import Cron, CronCount, CronCreate, CronPatch, CronSearch, Firing
from crewline.models.searches import ThreadSearch
from crewline.models.threads import ThreadCreate
from crewline.store import crons, keys
from crewline.store.idempotency import Once
from tests.unit.store.worlds import ECHO, TENANT, Calls, World

EACH_MINUTE = "* * * * *"
MINUTE = 60_000


def make(world: World, *, thread_id: str | None = None, once: Once | None = None, **fields: Any) -> Cron:
    body = {"assistant_id": "echo", "schedule": EACH_MINUTE, **fields}
    return world.crons.create(TENANT, CronCreate.model_validate(body), thread_id=thread_id, once=once)


def patch(world: World, cron: Cron, **fields: Any) -> Cron:
    return world.crons.patch(TENANT, cron.cron_id, CronPatch.model_validate(fields))


def next_minute(world: World) -> str:
    """Let it be the next minute, and spell that as Scheduler does."""
    world.clock.pass_(MINUTE)
    minute = datetime.fromtimestamp(world.clock() // MINUTE * 60, UTC)
    return f"{minute:%Y-%m-%dT%H:%M:%SZ}"


def fire(world: World, firings: list[dict[str, Any]]) -> list[str]:
    """Deliver firings; the ids of the runs."""
    started = [world.firings.fire(Firing.model_validate(one)) for one in firings]
    return [run.run_id for run in started if run]


def unsettled(world: World, cron: Cron) -> bool:
    row = crons.get(world.table, TENANT, cron.cron_id)
    assert row is not None
    return row.unsettled


# ------------------------------------------------------------------ the row and its schedules


def test_a_cron_has_a_schedule_for_each_of_its_expressions(world: World) -> None:
    cron = make(world, schedule="0 9 1 * MON", timezone="Europe/Berlin", end_time="2099-01-01T00:00:00")
    assert world.scheduler.expressions == ["cron(0 9 1 * ? *)", "cron(0 9 ? * 2 *)"]
    (one, _) = world.scheduler.there.values()
    assert one["ScheduleExpressionTimezone"] == "Europe/Berlin"
    assert one["EndDate"] == datetime(2099, 1, 1, tzinfo=UTC)
    assert one["ActionAfterCompletion"] == "DELETE"
    assert not unsettled(world, cron)


def test_a_change_of_when_it_is_due_replaces_the_schedules_and_any_other_leaves_them(world: World) -> None:
    cron = make(world, schedule="0 9 1 * MON")
    before = set(world.scheduler.there)
    patch(world, cron, input={"message": "another"}, metadata={"k": 1})
    assert set(world.scheduler.there) == before
    patch(world, cron, schedule="0 10 * * *")
    assert world.scheduler.expressions == ["cron(0 10 * * ? *)"]
    assert not before & set(world.scheduler.there)
    patch(world, cron, timezone="Asia/Tokyo")
    ((only),) = world.scheduler.there.values()
    assert only["ScheduleExpressionTimezone"] == "Asia/Tokyo"
    patch(world, cron, timezone=None)
    ((only),) = world.scheduler.there.values()
    assert only["ScheduleExpressionTimezone"] == "UTC"


def test_a_cron_that_is_disabled_has_ended_or_is_deleted_has_no_schedule(world: World) -> None:
    cron = make(world)
    patch(world, cron, enabled=False)
    assert world.scheduler.there == {}
    assert patch(world, cron, enabled=True).enabled
    assert len(world.scheduler.there) == 1
    patch(world, cron, end_time=iso(world.clock() - 1))
    assert world.scheduler.there == {}
    patch(world, cron, end_time=None)
    assert len(world.scheduler.there) == 1
    world.crons.delete(TENANT, cron.cron_id)
    assert world.scheduler.there == {}
    assert crons.get(world.table, TENANT, cron.cron_id) is None
    make(world, enabled=False)
    assert world.scheduler.there == {}


def test_what_scheduler_did_not_do_the_sweeper_does(world: World) -> None:
    world.scheduler.down = True
    cron = make(world)
    assert unsettled(world, cron)
    world.scheduler.down = False
    world.crons.bring_in_line(TENANT, cron.cron_id)
    assert len(world.scheduler.there) == 1
    assert not unsettled(world, cron)
    world.scheduler.down = True
    world.crons.delete(TENANT, cron.cron_id)
    with pytest.raises(NotFound):
        world.crons.get(TENANT, cron.cron_id)
    with pytest.raises(Unavailable):
        world.crons.bring_in_line(TENANT, cron.cron_id)
    world.scheduler.down = False
    world.crons.bring_in_line(TENANT, cron.cron_id)
    assert world.scheduler.there == {}
    assert crons.get(world.table, TENANT, cron.cron_id) is None
    world.crons.bring_in_line(TENANT, cron.cron_id)


def test_a_schedule_that_scheduler_does_not_take_is_refused_and_nothing_is_left_of_it(world: World) -> None:
    with pytest.raises(InvalidRequest, match="EventBridge Scheduler does not take"):
        make(world, timezone="EST")
    assert world.crons.count(TENANT, CronCount()) == 0
    cron = make(world, timezone="Asia/Tokyo", metadata={"k": 1})
    with pytest.raises(InvalidRequest, match="EventBridge Scheduler does not take"):
        patch(world, cron, timezone="EST", metadata={"k": 2})
    after = world.crons.get(TENANT, cron.cron_id)
    assert replace(after, updated_at=cron.updated_at) == cron
    assert not unsettled(world, cron)
    assert len(fire(world, world.scheduler.firings(next_minute(world)))) == 1


def test_the_sweeper_tries_once_what_scheduler_will_never_take(world: World) -> None:
    world.scheduler.down = True
    cron = make(world, timezone="EST")
    world.scheduler.down = False
    with pytest.raises(InvalidRequest):
        world.crons.bring_in_line(TENANT, cron.cron_id)
    assert not unsettled(world, cron)
    assert not world.crons.get(TENANT, cron.cron_id).enabled
    world.crons.bring_in_line(TENANT, cron.cron_id)


def test_whoever_brings_schedules_in_line_of_a_cron_that_changed_meanwhile_leaves_the_note(
    world: World,
) -> None:
    cron = make(world)
    world.scheduler.down = True
    patch(world, cron, schedule="0 10 * * *")
    world.scheduler.down = False
    with Calls(world.cloud.dynamodb, "UpdateItem") as settling:
        settling.before = lambda: _change_without_schedules(world, cron)
        world.crons.bring_in_line(TENANT, cron.cron_id)
    assert unsettled(world, cron)
    world.crons.bring_in_line(TENANT, cron.cron_id)
    assert world.scheduler.expressions == ["cron(0 11 * * ? *)"]
    assert not unsettled(world, cron)


def _change_without_schedules(world: World, cron: Cron) -> None:
    world.scheduler.down = True
    patch(world, cron, schedule="0 11 * * *")
    world.scheduler.down = False


# ------------------------------------------------------------------ firings


def test_a_firing_starts_one_run_however_often_it_is_delivered(world: World) -> None:
    cron = make(world, input={"message": "hello"}, metadata={"k": "v"}, on_run_completed="keep")
    firings = world.scheduler.firings(next_minute(world))
    (first,) = fire(world, firings)
    assert fire(world, firings * 2) == [first, first]
    (job,) = world.messages()
    run = world.runs.get(TENANT, job["thread_id"], first)
    assert run.kwargs["input"] == {"message": "hello"}
    assert (run.metadata["k"], run.metadata["cron_id"]) == ("v", cron.cron_id)
    found = world.searches.search(TENANT, ThreadSearch(metadata={"cron_id": cron.cron_id})).threads
    assert [one["thread_id"] for one in found] == [job["thread_id"]]
    assert fire(world, world.scheduler.firings(next_minute(world))) != [first]


def test_two_schedules_that_are_due_at_one_minute_start_one_run(world: World) -> None:
    world.clock.now = 1_780_263_000_000  # Sunday, 2026-05-31
    make(world, schedule="0 9 1 * MON")
    firings = world.scheduler.firings("2026-06-01T09:00:00Z")  # a Monday
    world.clock.now = 1_780_304_400_000
    assert len(firings) == 2
    assert len(set(fire(world, firings))) == 1
    assert len(world.messages()) == 1


def test_runs_of_a_threads_cron_are_on_that_thread_in_their_order(world: World) -> None:
    thread_id = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    make(world, thread_id=thread_id)
    started = [fire(world, world.scheduler.firings(next_minute(world)))[0] for _ in range(2)]
    assert [
        run.run_id for run in world.runs.list(TENANT, thread_id, limit=10, offset=0, status=None)
    ] == started[::-1]


def test_a_run_that_must_not_wait_is_skipped_while_its_thread_is_busy(world: World) -> None:
    thread_id = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    make(world, thread_id=thread_id, multitask_strategy="reject")
    assert len(fire(world, world.scheduler.firings(next_minute(world)))) == 1
    assert fire(world, world.scheduler.firings(next_minute(world))) == []


@pytest.mark.parametrize("how", ["deleted", "disabled", "ended", "other schedule", "other zone"])
def test_what_is_not_due_any_more_starts_nothing_though_its_schedule_fires(world: World, how: str) -> None:
    cron = make(world, schedule="*/5 * * * *")
    world.clock.now = 1_760_000_100_000 - 1_000
    firings = world.scheduler.firings("2025-10-09T08:55:00Z")
    world.scheduler.down = True
    if how == "deleted":
        world.crons.delete(TENANT, cron.cron_id)
    else:
        changes: dict[str, dict[str, Any]] = {
            "disabled": {"enabled": False},
            "ended": {"end_time": "2025-10-09T08:55:00+00:00"},
            "other schedule": {"schedule": "1-4 * * * *"},
            "other zone": {"schedule": "*/5 8 * * *", "timezone": "Asia/Kolkata"},
        }
        patch(world, cron, **changes[how])
    world.clock.pass_(MINUTE)
    assert fire(world, firings) == []
    assert world.messages() == []


def test_what_was_due_before_a_cron_began_or_was_enabled_again_starts_nothing(world: World) -> None:
    due = next_minute(world)
    cron = make(world)
    assert fire(world, world.scheduler.firings(due)) == []
    patch(world, cron, enabled=False)
    late = next_minute(world)
    patch(world, cron, enabled=True)
    assert fire(world, world.scheduler.firings(late)) == []
    assert len(fire(world, world.scheduler.firings(next_minute(world)))) == 1


def test_scheduler_may_know_another_hour_of_a_time_zone_than_we_do(world: World) -> None:
    cron = make(world, schedule="0 9 * * *", timezone="Europe/Berlin")
    world.clock.now = 1_760_000_000_000 // 86_400_000 * 86_400_000 + 86_400_000  # midnight
    eight = datetime.fromtimestamp(world.clock() / 1000, UTC) + timedelta(hours=8)
    assert not cron.is_due(eight)
    (said,) = world.scheduler.firings(f"{eight:%Y-%m-%dT%H:%M:%SZ}")
    patch(world, cron, end_time="2099-01-01T00:00:00+00:00")
    assert fire(world, [said]) == []  # of an earlier schedule both must say so
    (said,) = world.scheduler.firings(f"{eight:%Y-%m-%dT%H:%M:%SZ}")
    assert len(fire(world, [said])) == 1


def test_a_later_end_costs_no_run_that_is_due_meanwhile(world: World) -> None:
    cron = make(world, end_time="2098-01-01T00:00:00+00:00")
    due = next_minute(world)
    firings = world.scheduler.firings(due)
    patch(world, cron, end_time="2099-01-01T00:00:00+00:00")
    (run,) = fire(world, firings)
    assert fire(world, world.scheduler.firings(due)) == [run]


@pytest.mark.parametrize("how", ["deleted", "disabled"])
def test_a_cron_that_is_stopped_while_it_fires_starts_nothing(world: World, how: str) -> None:
    cron = make(world)
    firings = world.scheduler.firings(next_minute(world))

    def stop() -> None:
        if how == "deleted":
            world.crons.delete(TENANT, cron.cron_id)
        else:
            patch(world, cron, enabled=False)

    with Calls(world.cloud.dynamodb, "TransactWriteItems") as starting:
        starting.before = stop
        assert fire(world, firings) == []
        assert len(starting.requests) == 1
    assert world.messages() == []


def test_a_cron_that_is_changed_while_it_fires_starts_what_it_asks_for_now(world: World) -> None:
    cron = make(world, input={"message": "old"}, on_run_completed="keep")
    firings = world.scheduler.firings(next_minute(world))

    def change() -> None:
        patch(world, cron, input={"message": "new"})

    with Calls(world.cloud.dynamodb, "TransactWriteItems") as starting:
        starting.before = change
        (run_id,) = fire(world, firings)
    (job,) = world.messages()
    assert world.runs.get(TENANT, job["thread_id"], run_id).kwargs["input"] == {"message": "new"}


def test_a_schedule_that_was_made_too_late_is_deleted_when_it_fires(world: World) -> None:
    cron = make(world)
    late = dict(world.scheduler.there)
    patch(world, cron, schedule="0 10 * * *")
    world.scheduler.there |= late
    firings = [one for one in world.scheduler.firings(next_minute(world)) if one["revision"] == 1]
    assert fire(world, firings) == []
    assert world.scheduler.expressions == ["cron(0 10 * * ? *)"]
    world.crons.delete(TENANT, cron.cron_id)
    world.scheduler.there |= late
    assert fire(world, firings) == []
    assert world.scheduler.there == {}


def test_a_cron_whose_thread_is_gone_is_disabled(world: World) -> None:
    thread_id = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    cron = make(world, thread_id=thread_id)
    firings = world.scheduler.firings(next_minute(world))
    world.threads.delete(TENANT, thread_id)
    assert fire(world, firings) == []
    assert not world.crons.get(TENANT, cron.cron_id).enabled
    assert world.scheduler.there == {}


def test_a_firing_that_comes_again_when_its_thread_is_gone_disables_nothing(world: World) -> None:
    thread_id = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    cron = make(world, thread_id=thread_id)
    firings = world.scheduler.firings(next_minute(world))
    assert len(fire(world, firings)) == 1
    world.threads.delete(TENANT, thread_id)
    assert fire(world, firings) == []
    assert world.crons.get(TENANT, cron.cron_id).enabled


def test_a_run_that_can_never_be_started_is_a_bad_message(world: World) -> None:
    cron = make(world)
    row = crons.get(world.table, TENANT, cron.cron_id)
    assert row is not None
    broken = replace(row, cron=replace(cron, payload={"webhook": "nowhere"}))
    world.table.write(crons.put(TENANT, broken, before=row, now=world.clock()))
    with pytest.raises(BadMessage, match="webhook's address is refused"):
        fire(world, world.scheduler.firings(next_minute(world)))


# ------------------------------------------------------------------ what the API needs


def test_a_row_says_what_it_is_and_when_it_is_due(world: World) -> None:
    cron = make(world, input=None, schedule="0  9 * * *", timezone="Asia/Tokyo", metadata={"k": 1})
    wire = cron.wire(world.clock())
    assert (wire["assistant_id"], wire["thread_id"], wire["on_run_completed"]) == (ECHO, None, "delete")
    assert wire["schedule"] == "0 9 * * *"
    assert wire["next_run_date"] == "2025-10-10T00:00:00.000000+00:00"
    assert wire["payload"] == {"assistant_id": ECHO, "input": None, "metadata": {"k": 1}}
    assert world.crons.get(TENANT, cron.cron_id) == cron
    ended = replace(cron, end_time="2025-10-10T00:00:00.000000+00:00")
    assert ended.wire(world.clock())["next_run_date"] is None
    assert replace(cron, enabled=False).wire(world.clock())["next_run_date"] is None


def test_a_change_keeps_what_it_does_not_name(world: World) -> None:
    cron = make(world, input={"message": "a"}, webhook="https://example.com/a", metadata={"a": 1, "b": 1})
    changed = patch(world, cron, webhook=None, metadata={"b": 2})
    assert changed.payload == {"input": {"message": "a"}, "webhook": None}
    assert changed.metadata == {"a": 1, "b": 2}
    assert (changed.schedule, changed.on_run_completed) == (EACH_MINUTE, "delete")


def test_of_context_and_configurable_the_one_that_was_sent_last_counts(world: World) -> None:
    cron = make(world, context={"a": 1})
    configured = patch(world, cron, config={"configurable": {"b": 1}, "tags": ["t"]})
    assert configured.payload == {"config": {"configurable": {"b": 1}, "tags": ["t"]}}
    assert patch(world, cron, context={"c": 1}).payload == {"config": {"tags": ["t"]}, "context": {"c": 1}}
    with pytest.raises(BadRequest):
        patch(world, cron, config={"configurable": {"b": 1}}, context={"c": 1})


def test_what_no_run_could_be_started_with_makes_no_cron(world: World) -> None:
    refusals: list[tuple[type[Exception], dict[str, Any]]] = [
        (InvalidRequest, {"assistant_id": "nobody"}),
        (InvalidRequest, {"webhook": "ftp://example.com"}),
        (BadRequest, {"context": {"a": 1}, "config": {"configurable": {"a": 1}}}),
        (TooLarge, {"input": "x" * 70_000}),
        (NotFound, {"assistant_id": "00000000-0000-4000-8000-000000000000"}),
        (NotFound, {"thread_id": "00000000-0000-4000-8000-000000000000"}),
    ]
    for refusal, fields in refusals:
        with pytest.raises(refusal):
            make(world, **fields)
    assert world.crons.count(TENANT, CronCount()) == 0
    assert world.scheduler.there == {}


def test_a_request_that_is_repeated_makes_one_cron(world: World) -> None:
    once = Once.of("POST /runs/crons", "key", {"a": 1})
    cron = make(world, once=once)
    assert make(world, once=once) == cron
    assert len(world.scheduler.there) == 1
    with pytest.raises(KeyReused):
        make(world, once=replace(once, digest="another"))


def test_crons_are_found_by_what_they_are(world: World) -> None:
    thread_id = world.threads.create(TENANT, ThreadCreate())["thread_id"]
    found = [
        make(world, metadata={"team": "a"}),
        make(world, thread_id=thread_id, metadata={"team": "a"}),
        make(world, assistant_id="steps", enabled=False),
    ]
    ids = [one.cron_id for one in found]

    def search(**fields: Any) -> list[int]:
        page, _ = world.crons.search(TENANT, CronSearch.model_validate({"sort_order": "asc", **fields}))
        return [ids.index(one["cron_id"]) for one in page]

    assert search() == [0, 1, 2]
    assert search(sort_order="desc", limit=2) == [2, 1]
    assert search(assistant_id="steps") == [2]
    assert search(thread_id=thread_id) == [1]
    assert search(enabled=True, metadata={"team": "a"}, offset=1) == [1]
    assert search(sort_by="next_run_date") == [2, 0, 1]
    assert world.crons.count(TENANT, CronCount.model_validate({"metadata": {"team": "a"}})) == 2
    world.crons.delete(TENANT, ids[0])
    assert search() == [1, 2]
    with pytest.raises(NotFound):
        world.crons.delete(TENANT, ids[0])


def test_a_search_reckons_when_crons_are_due_for_its_page_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        make(world)
    reckoned = []
    next_due = Cron.next_due

    def counted(cron: Cron, now_ms: int) -> datetime | None:
        reckoned.append(cron.cron_id)
        return next_due(cron, now_ms)

    monkeypatch.setattr(Cron, "next_due", counted)
    page, more = world.crons.search(TENANT, CronSearch.model_validate({"limit": 2}))
    assert reckoned == [one["cron_id"] for one in page]
    assert more


def test_of_two_changes_at_once_both_are_made(world: World) -> None:
    cron = make(world)

    def change() -> None:
        patch(world, cron, metadata={"b": 2})

    with Calls(world.cloud.dynamodb, "PutItem") as writing:
        writing.before = change
        patch(world, cron, metadata={"a": 1})
    assert world.crons.get(TENANT, cron.cron_id).metadata == {"a": 1, "b": 2}


def test_a_note_is_in_the_sweepers_index_until_schedules_are_in_line(world: World) -> None:
    world.scheduler.down = True
    cron = make(world)
    key = keys.cron(TENANT, cron.cron_id)
    latest = keys.flight_time(world.clock())

    def noted() -> bool:
        return any(
            found == key
            for shard in keys.flight_shards()
            for found in world.table.query_index(keys.LEASES_IN_FLIGHT, shard, at_most=latest)
        )

    assert noted()
    assert keys.cron_of(key) == (TENANT, cron.cron_id)
    assert keys.cron_of(keys.thread(TENANT, cron.cron_id)) is None
    world.scheduler.down = False
    world.crons.bring_in_line(TENANT, cron.cron_id)
    assert not noted()


def test_an_hour_that_comes_twice_counts_once(world: World) -> None:
    cron = make(world, schedule="30 2 * * *", timezone="Europe/Berlin")
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert cron.next_due(round((first - timedelta(hours=1)).timestamp() * 1000)) == first
    assert cron.next_due(round(first.timestamp() * 1000)) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    assert cron.is_due(first)
