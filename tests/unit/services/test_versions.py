"""Versions: a build has one number for ever, whoever asks for it, and however many ask at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from botocore.exceptions import EndpointConnectionError

from crewline.errors import Unavailable
from crewline.models.clocks import iso
from crewline.models.versions import Version
from crewline.services.versions import Versions
from tests.unit.store.worlds import NOW, Calls, FakeClock, World

UNREACHABLE = EndpointConnectionError(endpoint_url="https://dynamodb.example")


def build(number: int) -> str:
    return f"{number:032x}"


def test_builds_are_numbered_upward_from_one(world: World, clock: FakeClock) -> None:
    for number in (1, 2, 3):
        assert world.versions.number(build(number)) == number
        clock.pass_(1_000)
    assert world.versions.list() == [
        Version(number=number, build=build(number), created_at=iso(NOW + 1_000 * (number - 1)))
        for number in (3, 2, 1)
    ]


def test_a_build_that_comes_again_keeps_its_number_and_its_time(world: World, clock: FakeClock) -> None:
    for number in range(1, 26):  # more than one request reads
        world.versions.number(build(number))
    before = world.versions.list()
    clock.pass_(1_000)
    for number in (1, 13, 25):
        assert world.again().versions.number(build(number)) == number
    assert world.versions.list() == before


def test_a_process_asks_for_a_build_once(world: World) -> None:
    assert world.versions.number(build(7)) == 1
    with Calls(world.cloud.dynamodb, "Query") as reads, Calls(world.cloud.dynamodb, "PutItem") as writes:
        assert world.versions.number(build(7)) == 1
    assert reads.requests == writes.requests == []


def test_the_newest_version_is_found_with_one_short_read(world: World) -> None:
    for number in range(1, 26):
        world.versions.number(build(number))
    with Calls(world.cloud.dynamodb, "Query") as reads:
        assert world.again().versions.number(build(25)) == 25
    assert [read["Limit"] for read in reads.requests] == [10]


@pytest.mark.parametrize(
    ("other", "mine", "numbered"), [(5, 1, [5]), (6, 2, [5, 6])], ids=["the same build", "another build"]
)
def test_of_two_at_once_each_build_has_one_number(
    world: World, other: int, mine: int, numbered: list[int]
) -> None:
    with Calls(world.cloud.dynamodb, "PutItem") as writes:
        writes.before = partial(_register, world.again(), other)
        assert world.versions.number(build(5)) == mine
    assert sorted(int(one.build, 16) for one in world.versions.list()) == numbered


def _register(world: World, number: int) -> None:
    world.versions.number(build(number))


def test_many_processes_agree(world: World) -> None:
    builds = [build(number % 4) for number in range(32)]
    processes = [world.again().versions for _ in builds]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(Versions.number, processes, builds))
    found = set(zip(builds, numbers, strict=True))
    assert len(found) == 4
    assert {number for _, number in found} == {1, 2, 3, 4}


def test_a_number_whose_answer_was_lost_is_found_by_the_next_call(world: World) -> None:
    with Calls(world.cloud.dynamodb, "PutItem") as writes:
        writes.after.append(UNREACHABLE)
        with pytest.raises(Unavailable):
            world.versions.number(build(1))
    assert world.versions.number(build(1)) == 1
    assert len(world.versions.list()) == 1


def test_a_request_that_is_sent_twice_gives_one_number(world: World) -> None:
    with Calls(world.cloud.dynamodb, "PutItem") as writes:
        writes.twice = True
        assert world.versions.number(build(1)) == 1
    assert len(world.versions.list()) == 1
