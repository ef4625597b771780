"""The world and the properties of the stores' tests."""

from tests.unit.store import properties
from tests.unit.store.worlds import basic_manifest, clock, cloud, world

__all__ = ["basic_manifest", "clock", "cloud", "properties", "world"]
