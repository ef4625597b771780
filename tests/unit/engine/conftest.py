"""The world of these tests."""

from tests.unit.store.worlds import basic_manifest, clock, cloud, world

__all__ = ["basic_manifest", "clock", "cloud", "world"]
