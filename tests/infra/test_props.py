"""What a team may decide is checked before anything is made of it, and refused with a sentence."""

from __future__ import annotations

from typing import Any

import pytest

from crewline.errors import CrewlineError

pytestmark = pytest.mark.usefixtures("node")

ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
DIGEST = f"sha256:{'0a' * 32}"


def _size(memory_mb: int = 512, timeout_seconds: int = 90) -> Any:
    from crewline_cdk.functions import FunctionSize

    return FunctionSize(memory_mb=memory_mb, timeout_seconds=timeout_seconds)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("max_concurrency", 1, r"max_concurrency must be from 2 to 1,000, not 1\."),
        ("max_concurrency", 1001, r"max_concurrency must be from 2 to 1,000, not 1,001\."),
        ("max_followers", 0, r"max_followers must be at least 1, not 0\."),
        ("max_in_place", 0, r"max_in_place must be at least 1, not 0\."),
        ("requests_per_second", 0, r"requests_per_second must be at least 1, not 0\."),
        ("dead_letter_days", 15, r"dead_letter_days must be from 5 to 14, not 15\."),
        ("dead_letter_days", 4, r"dead_letter_days must be from 5 to 14, not 4\."),
        ("tags", {"aws:owner": "me"}, r"tags cannot have 'aws:owner'"),
        ("tags", {f"tag{number}": "" for number in range(46)}, r"There are 46 tags; at most 45"),
        (
            "environment",
            {"AWS_REGION": "mars", "CREWLINE_TABLE": "x"},
            r"cannot set AWS_REGION, CREWLINE_TABLE:",
        ),
        ("environment", {"PYTHONPATH": "/tmp"}, r"cannot set PYTHONPATH:"),
        ("environment", {"1ST": "x", "A-B": "y"}, r"cannot set '1ST', 'A-B': a name begins with a letter"),
        ("stage", "prod", r"stage is production or staging, not 'prod'\."),
        ("streaming", "websocket", r"streaming is 'bootstrap' or 'web-adapter', not 'websocket'\."),
        ("image", "docker.io/crews:1", r"'docker\.io/crews:1' is no image that Lambda can take"),
        ("image", f"{ECR}/crews", r"/crews' is no image that Lambda can take"),
        ("image", f"{ECR}/crews@sha256:12", r"is no image that Lambda can take"),
        ("adapter_layer", "arn:aws:lambda:eu-west-1:1:layer:x:1", r"only used with streaming='web-adapter'"),
    ],
)
def test_a_value_outside_of_what_is_allowed_is_refused(name: str, value: Any, sentence: str) -> None:
    from crewline_cdk.props import CrewlineProps

    with pytest.raises(CrewlineError, match=sentence):
        CrewlineProps(**{name: value})


@pytest.mark.parametrize(
    ("function", "size", "sentence"),
    [
        ("worker", (512, 901), r"worker\.timeout_seconds must be from 30 to 900, not 901\."),
        ("crew", (64, 900), r"crew\.memory_mb must be from 128 to 10,240, not 64\."),
        ("tail", (512, 10), r"tail\.timeout_seconds must be from 30 to 900, not 10\."),
        ("api", (512, 60), r"api\.timeout_seconds must be from 70 to 900, not 60\."),
        ("sweeper", (512, 181), r"sweeper\.timeout_seconds must be from 30 to 180, not 181\."),
        ("intake", (512, 49), r"intake\.timeout_seconds must be from 10 to 48, not 49\."),
    ],
)
def test_a_size_that_lambda_or_the_function_cannot_do_with_is_refused(
    function: str, size: tuple[int, int], sentence: str
) -> None:
    from crewline_cdk.props import CrewlineProps

    with pytest.raises(CrewlineError, match=sentence):
        CrewlineProps(**{function: _size(*size)})


@pytest.mark.parametrize(
    ("uri", "version"),
    [(f"{ECR}/team/crews:1.0-rc_1", "1.0-rc_1"), (f"{ECR}/crews@{DIGEST}", DIGEST)],
)
def test_an_image_has_a_tag_or_a_digest(uri: str, version: str) -> None:
    from crewline_cdk.images import parse_image

    image = parse_image(uri)

    assert (image.account, image.region, image.version) == ("123456789012", "eu-central-1", version)


def test_an_image_cannot_be_streamed_by_a_layer() -> None:
    from crewline_cdk.props import CrewlineProps

    with pytest.raises(CrewlineError, match="images have no layers"):
        CrewlineProps(image=f"{ECR}/crews:1", streaming="web-adapter")


def test_more_variables_than_lambda_takes_are_refused_by_their_names() -> None:
    from crewline_cdk.environments import check_size

    check_size("crew", {"SMALL": "x" * 4_091})
    with pytest.raises(CrewlineError) as refused:
        check_size("crew", {"SMALL": "x", "LARGE": "secret" * 700, "MIDDLE": "y" * 50, "OTHER": "z" * 9})

    assert "function crew has 4,281 bytes; Lambda allows 4,096" in str(refused.value)
    assert "LARGE (4,205 bytes), MIDDLE (56 bytes), OTHER (14 bytes)" in str(refused.value)
    assert "secret" not in str(refused.value)
