"""The API does what its OpenAPI document says, with good data and bad; `make fuzz` does the same at length."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.fuzz.runs import fuzz

_LIKE_OTHERS: Final = (
    "/runs",
    "/runs/batch",
    "/runs/stream",
    "/runs/wait",
    "/threads/{thread_id}/runs/stream",
    "/threads/{thread_id}/runs/wait",
)
"""They start runs, whose hundreds of forms are tried where they start on a thread in the background."""


@pytest.mark.thorough
def test_every_answer_is_one_that_the_document_allows(tmp_path: Path) -> None:
    left_out = [f"--exclude-path={path}" for path in _LIKE_OTHERS]
    ended = fuzz(tmp_path, "--seed=1", "--phases=coverage", *left_out, captured=True)
    assert ended.returncode == 0, ended.stdout
