"""The place where the runs of these tests are executed."""

from tests.unit.engine.places import basic, loop, place
from tests.unit.store.worlds import basic_manifest, clock, cloud, world

__all__ = ["basic", "basic_manifest", "clock", "cloud", "loop", "place", "world"]
