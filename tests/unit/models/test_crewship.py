"""What requests of `/v1` say to the core."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from crewline.errors import NotFound
from crewline.models.crewship import RunRequest, ThreadRunRequest, check_environment
from crewline.settings import Stage

STAGES = get_args(Stage)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("said", [{}, {"environment": None}])
def test_a_request_that_names_no_environment_is_for_the_stack_that_it_came_to(
    stage: Stage, said: dict[str, Any]
) -> None:
    check_environment(RunRequest.model_validate({"deployment_id": "steps", **said}).environment, stage)
    check_environment(ThreadRunRequest.model_validate(said).environment, stage)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("asked", [*STAGES, "qa"])
def test_a_request_that_names_one_is_for_that_alone(stage: Stage, asked: str) -> None:
    environment = RunRequest(deployment_id="steps", environment=asked).environment
    if asked == stage:
        check_environment(environment, stage)
        return
    with pytest.raises(NotFound, match=f"^No running version found for {asked} environment$"):
        check_environment(environment, stage)
