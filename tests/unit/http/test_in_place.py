"""Runs that execute in their request, and end elsewhere."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from crewline.errors import StaleOwner, Unavailable
from crewline.http.in_place import _executed
from crewline.models.leases import Claim, Continues, Lease

CLAIM = Claim(tenant="acme", thread_id="t", run_id="r", owner="o", lease=Lease())


async def _elsewhere() -> str:
    return "from elsewhere"


async def _answer(answer: Any = None, error: BaseException | None = None) -> Any:
    future: Future[Any] = Future()
    if error:
        future.set_exception(error)
    else:
        future.set_result(answer)
    return await _executed(future, _elsewhere)


async def test_what_ended_here_is_answered() -> None:
    assert await _answer({"n": 1}) == {"n": 1}


async def test_a_run_that_goes_on_in_another_slice_is_waited_for_there() -> None:
    assert await _answer(Continues(claim=CLAIM)) == "from elsewhere"


async def test_a_run_that_another_worker_took_over_is_waited_for_there() -> None:
    assert await _answer(error=StaleOwner("It belongs to another worker.")) == "from elsewhere"


async def test_another_failure_is_one() -> None:
    with pytest.raises(Unavailable):
        await _answer(error=Unavailable("DynamoDB did not answer."))
