"""The world of these tests, and the place where executions are tested."""

from tests.unit.engine.places import basic, loop, place
from tests.unit.store.worlds import basic_manifest, clock, cloud, world

__all__ = ["basic", "basic_manifest", "clock", "cloud", "loop", "place", "world"]
