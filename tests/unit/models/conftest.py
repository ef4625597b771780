"""The properties of these tests."""

from tests.unit.store import properties

__all__ = ["properties"]
