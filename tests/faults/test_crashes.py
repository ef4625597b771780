"""A crash at every request: whoever stops, wherever, each input is applied once and nothing is left behind.

This is the small form; `make crashes` stops everybody at every call.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.crashes import crashes, faults, hasty_cloud, judge, undisturbed
from tests.faults.processes import Cloud
from tests.faults.stories import STORIES, Found, Story


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A local cloud, and processes that make no pauses."""
    with hasty_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def ends() -> dict[str, Found]:
    """How the stories end when nothing happens."""
    return {}


def _end(cloud: Cloud, ends: dict[str, Found], story: Story) -> Found:
    if story.name not in ends:
        ends[story.name] = undisturbed(cloud, story)
    return ends[story.name]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_process_that_stops_changes_nothing_of_how_it_ends(
    cloud: Cloud, ends: dict[str, Found], story: Story
) -> None:
    expected = _end(cloud, ends, story)
    for case in crashes(story, everywhere=False):
        judge(cloud, story, expected, case)


@pytest.mark.thorough
@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_write_that_is_refused_or_whose_answer_is_lost_changes_nothing_of_how_it_ends(
    cloud: Cloud, ends: dict[str, Found], story: Story
) -> None:
    expected = _end(cloud, ends, story)
    for case in faults(story, everywhere=False):
        judge(cloud, story, expected, case)
