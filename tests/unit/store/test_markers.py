"""Queue markers: in the order of acceptance, removed once, and only for the run they name."""

from __future__ import annotations

import pytest

from crewline.store import markers
from crewline.store.markers import Marker
from crewline.store.table import Refused
from tests.unit.store.worlds import TENANT, World

T = "t"
FIRST = Marker(run_id="a", turn=2)
DELAYED = Marker(run_id="b", turn=10, due=1_760_000_000_000, heard=True)
LAST = Marker(run_id="c", turn=100, yields=True)


def put(world: World, *given: Marker) -> None:
    for marker in given:
        world.table.write(markers.put(TENANT, T, marker))


def read(world: World) -> list[Marker]:
    return markers.in_order(world.table, TENANT, T)


def test_markers_are_read_in_the_order_of_their_turns(world: World) -> None:
    put(world, LAST, FIRST, DELAYED)
    assert read(world) == [FIRST, DELAYED, LAST]
    assert markers.in_order(world.table, TENANT, "another") == []


def test_a_turn_is_given_once(world: World) -> None:
    put(world, FIRST)
    with pytest.raises(Refused):
        put(world, Marker(run_id="b", turn=FIRST.turn))
    assert read(world) == [FIRST]


def test_a_marker_is_removed_once_and_only_for_its_run(world: World) -> None:
    put(world, FIRST)
    with pytest.raises(Refused):
        world.table.write(markers.delete(TENANT, T, Marker(run_id="b", turn=FIRST.turn)))
    world.table.write(markers.delete(TENANT, T, FIRST))
    with pytest.raises(Refused):
        world.table.write(markers.delete(TENANT, T, FIRST))
    assert world.items() == {}
