"""The public contract of LangGraph's checkpointers, as its own suite checks it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate

from tests.checkpointer.conftest import House

CAPABILITIES = {
    "put",
    "put_writes",
    "get_tuple",
    "list",
    "delete_thread",
    "delete_for_runs",
    "copy_thread",
    "prune",
}


async def test_langgraphs_own_suite_detects_every_capability_and_passes(house: House) -> None:
    async def savers() -> AsyncGenerator[BaseCheckpointSaver[int], None]:
        yield house.saver()

    report = await validate(checkpointer_test(name="DynamoDBCheckpointer")(savers))

    assert {name for name, result in report.results.items() if result.detected} == CAPABILITIES
    assert [result.failures for result in report.results.values() if result.failures] == []
    assert all(result.passed and not result.tests_skipped for result in report.results.values())
    assert sum(result.tests_passed for result in report.results.values()) >= 70
