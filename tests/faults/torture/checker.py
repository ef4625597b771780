"""The checker: every sentence of the protocol, against what really happened."""

from __future__ import annotations

from tests.faults.torture import ends, orders, promises
from tests.faults.torture.facts import Facts
from tests.faults.torture.violations import Violation


def check(facts: Facts) -> list[Violation]:
    """Find everything that must not be."""
    return [*ends.check(facts), *orders.check(facts), *promises.check(facts)]
