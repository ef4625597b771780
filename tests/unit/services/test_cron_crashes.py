"""Crons whose processes stop anywhere, or are late: schedules come in line with the row, and each turn is one run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from crewline.errors import NotFound
from crewline.models.crons import Cron, Firing
from crewline.models.threads import ThreadCreate
from crewline.models.timetables import expressions
from crewline.store import crons, keys
from tests.unit.services.crashes import crashing
from tests.unit.services.test_crons import fire, make, next_minute, patch
from tests.unit.store.worlds import TENANT, World

TWO = "0 9 1 * MON"
"""Takes two schedules."""
Act = Callable[[World, Cron], object]


def _delete(world: World, cron: Cron) -> None:
    world.crons.delete(TENANT, cron.cron_id)


CHANGES: dict[str, Act] = {
    "another schedule": lambda world, cron: patch(world, cron, schedule="0 10 * * *"),
    "disabled": lambda world, cron: patch(world, cron, enabled=False),
    "ended": lambda world, cron: patch(world, cron, end_time="2001-01-01T00:00:00"),
    "other metadata": lambda world, cron: patch(world, cron, metadata={"a": 1}),
    "deleted": _delete,
}


def sweep(world: World) -> None:
    """Bring in line what the index shows, as the sweeper does."""
    for shard in keys.flight_shards():
        noted = list(
            world.table.query_index(keys.LEASES_IN_FLIGHT, shard, at_most=keys.flight_time(world.clock() + 1))
        )
        for key in noted:
            if cron := keys.cron_of(key):
                world.crons.bring_in_line(*cron)


def wanted(world: World) -> list[str]:
    """When the crons that there are want to be fired."""
    found: list[str] = []
    for row in crons.rows(world.table, TENANT):
        assert not row.unsettled
        if row.cron.next_due(world.clock()):
            found += expressions(row.cron.schedule)
    return sorted(found)


def settled(world: World) -> None:
    sweep(world)
    assert world.scheduler.expressions == wanted(world)
    for row in crons.rows(world.table, TENANT):
        assert set(row.placed) <= set(world.scheduler.there)
    assert not [key for key in world.items() if key[0].startswith("K#") and not _shown(world, key[1])]


def _shown(world: World, cron_id: str) -> bool:
    try:
        return world.crons.get(TENANT, cron_id).cron_id == cron_id
    except NotFound:
        return False


def test_a_cron_whose_maker_stops_anywhere_has_its_schedules_or_is_not_there(world: World) -> None:
    stopped = crashing(world, lambda: make(world, schedule=TWO), lambda: None, lambda: settled(world.again()))
    assert stopped >= 2 * 6, "reads, the row, two schedules, the note"


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_whose_maker_stops_anywhere_is_whole_in_the_end(world: World, change: str) -> None:
    made: list[Cron] = []
    stopped = crashing(
        world,
        lambda: CHANGES[change](world, made[-1]),
        lambda: made.append(make(world, schedule=TWO)),
        lambda: settled(world.again()),
    )
    assert stopped >= 4


@pytest.mark.thorough
@pytest.mark.parametrize("second", CHANGES)
@pytest.mark.parametrize("first", CHANGES)
def test_who_is_late_spoils_no_schedule_that_is_needed(world: World, first: str, second: str) -> None:
    late = _Late(world)
    for number in range(100):
        cron = make(world, schedule=TWO)
        came = late.doing(number, partial(CHANGES[first], world, cron), partial(CHANGES[second], world, cron))
        sweep(world)
        needed = wanted(world)
        there = world.scheduler.expressions
        for one in needed:
            there.remove(one)
        strays = [one for one in world.scheduler.firings(next_minute(world)) if _stray(world, one)]
        assert len(strays) == len(there)
        assert fire(world, strays) == []
        assert world.scheduler.expressions == needed
        if not came:
            break
    assert number > 3


def _stray(world: World, firing: dict[str, Any]) -> bool:
    row = crons.get(world.table, TENANT, Firing.model_validate(firing).cron_id)
    return row is None or row.revision != firing["revision"]


class _Late:
    """Lets a second process do all that it does in between two requests of the first."""

    def __init__(self, world: World) -> None:
        self._clients: list[Any] = [world.cloud.dynamodb, world.scheduler]

    def doing(self, number: int, first: Callable[[], object], second: Callable[[], object]) -> bool:
        """Do both; False when the first made fewer requests."""
        calls = [one._make_api_call for one in self._clients]
        sent: list[str] = []

        def intercept(call: Callable[..., Any]) -> Callable[..., Any]:
            def counted(operation: str, arguments: Any) -> Any:
                sent.append(operation)
                if len(sent) - 1 == number:
                    self._put_back(calls)
                    _forgiving(second)
                return call(operation, arguments)

            return counted

        self._put_back([intercept(call) for call in calls])
        _forgiving(first)
        self._put_back(calls)
        return len(sent) > number

    def _put_back(self, calls: list[Callable[..., Any]]) -> None:
        for one, call in zip(self._clients, calls, strict=True):
            one._make_api_call = call


def _forgiving(act: Callable[[], object]) -> None:
    try:
        act()
    except NotFound:
        return  # the other one has deleted it


def test_a_turn_whose_process_stops_anywhere_is_one_run(world: World) -> None:
    threads: list[str] = []
    said: list[dict[str, Any]] = []

    def begin() -> None:
        threads.append(world.threads.create(TENANT, ThreadCreate())["thread_id"])
        cron = make(world, thread_id=threads[-1])
        due = next_minute(world)
        said[:] = [one for one in world.scheduler.firings(due) if one["cron_id"] == cron.cron_id]

    def again() -> None:
        for _ in range(2):
            assert len(fire(world.again(), said)) == 1
        assert len(world.runs.list(TENANT, threads[-1], limit=10, offset=0, status=None)) == 1

    assert crashing(world, lambda: fire(world, said), begin, again) >= 6
