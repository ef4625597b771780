"""Releases: which version is live, which one a rollback is to, and what is said when it ends half-way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crewline.errors import Conflict, CrewlineError, NotFound, Unavailable
from crewline.services.releases import Releases
from crewline.store.aliases import Function
from tests.unit.store.worlds import World

NAMES = ("api", "crew", "worker")


def build(number: int) -> str:
    return f"{number:032x}"


class Lambda:
    """Functions and their aliases; whoever has read an alias that was changed since is refused.

    Args:
        live: The build that is live for each function.
        deployed: The build of the last deploy.
        kept: The builds of which there are versions.
    """

    def __init__(self, live: int, deployed: int, kept: tuple[int, ...] = (1, 2, 3)) -> None:
        self.functions = {
            name: Function(
                name=name,
                physical_name=f"Ours-{name}",
                live=build(live),
                deployed=build(deployed),
                kept={build(one): str(10 + one) for one in kept},
                revision="0",
            )
            for name in NAMES
        }
        self.pointed: list[str] = []
        self.failures: dict[str, CrewlineError] = {}

    def point(self, function: Function, wanted: str) -> None:
        if failure := self.failures.pop(function.name, None):
            raise failure
        now = self.functions[function.name]
        if now.revision != function.revision:
            raise Conflict("The alias has changed.")
        self.functions[function.name] = replace(now, live=wanted, revision=str(int(now.revision) + 1))
        self.pointed.append(function.name)

    def releases(self, world: World) -> Releases:
        return Releases(list(self.functions.values()), self.point, world.versions)

    def live(self) -> dict[str, int]:
        return {name: int(one.live, 16) for name, one in self.functions.items()}


@pytest.fixture
def numbered(world: World) -> World:
    """A deployment of three builds, each numbered as it is spelled."""
    for number in (1, 2, 3):
        assert world.versions.number(build(number)) == number
    return world


def rolled_back(world: World, aws: Lambda, to: int | None = None) -> int:
    releases = aws.releases(world)
    version = releases.earlier(to)
    releases.make_live(version, lambda _: None)
    return version.number


def test_the_list_says_what_is_live_and_what_can_be(numbered: World) -> None:
    found = Lambda(live=3, deployed=3, kept=(2, 3)).releases(numbered).list()
    assert [(one.version.number, one.live, one.complete) for one in found] == [
        (3, NAMES, True),
        (2, (), True),
        (1, (), False),
    ]


def test_what_is_live_has_a_number_also_before_anything_has_run(world: World) -> None:
    (only,) = Lambda(live=7, deployed=7, kept=(7,)).releases(world).list()
    assert (only.version.number, only.version.build, only.live) == (1, build(7), NAMES)


def test_a_rollback_is_to_the_version_before_the_live_one_each_time(numbered: World) -> None:
    aws = Lambda(live=3, deployed=3)
    assert rolled_back(numbered, aws) == 2
    assert aws.live() == dict.fromkeys(NAMES, 2)
    assert rolled_back(numbered, aws) == 1
    assert aws.live() == dict.fromkeys(NAMES, 1)
    with pytest.raises(Conflict, match="Version 1 is live, and there is none before it"):
        rolled_back(numbered, aws)


def test_a_rollback_is_to_any_version_that_is_named_a_newer_one_too(numbered: World) -> None:
    aws = Lambda(live=3, deployed=3)
    assert rolled_back(numbered, aws, 1) == 1
    assert rolled_back(numbered, aws, 3) == 3
    assert aws.live() == dict.fromkeys(NAMES, 3)


def test_a_version_that_is_live_is_left_alone(numbered: World) -> None:
    aws = Lambda(live=3, deployed=3)
    releases = aws.releases(numbered)
    assert releases.make_live(releases.earlier(3), lambda _: None) is False
    assert aws.pointed == []


def test_a_version_that_there_is_not_is_refused_with_those_that_there_are(numbered: World) -> None:
    with pytest.raises(NotFound, match=r"There is no version 9; there are 3, 2, 1, and `crewline versions`"):
        rolled_back(numbered, Lambda(live=3, deployed=3), 9)


def test_nothing_is_changed_unless_every_function_keeps_the_version(numbered: World) -> None:
    aws = Lambda(live=3, deployed=3)
    aws.functions["worker"] = replace(aws.functions["worker"], kept={build(3): "13"})
    for to in (2, None):
        with pytest.raises(Conflict, match=r"Version 2 cannot be live again: .* no version of it for worker"):
            rolled_back(numbered, aws, to)
    assert aws.pointed == []


def test_a_version_whose_deploy_failed_is_passed_over_unless_it_is_named(numbered: World) -> None:
    aws = Lambda(live=3, deployed=3)
    aws.functions["api"] = replace(aws.functions["api"], kept={build(1): "11", build(3): "13"})
    with pytest.raises(Conflict, match="Version 2 cannot be live again"):
        rolled_back(numbered, aws, 2)
    assert rolled_back(numbered, aws) == 1


def test_a_rollback_that_ends_half_way_says_what_is_where_and_the_same_again_completes_it(
    numbered: World,
) -> None:
    aws = Lambda(live=3, deployed=3)
    aws.failures["crew"] = Unavailable("Lambda did not answer.")
    with pytest.raises(Unavailable) as failed:
        rolled_back(numbered, aws)
    assert failed.value.message == (
        "Lambda did not answer. Version 2 is live for api, and not for crew, worker: say the same again with "
        "--rollback --to 2, which completes it."
    )
    assert aws.live() == {"api": 2, "crew": 3, "worker": 3}
    listed = aws.releases(numbered).list()
    assert [one.live for one in listed] == [("crew", "worker"), ("api",), ()]
    assert rolled_back(numbered, aws) == 2, "without --to as well"
    assert aws.live() == dict.fromkeys(NAMES, 2)
    assert aws.pointed == ["api", "crew", "worker"]


def test_who_is_behind_somebody_else_changes_nothing(numbered: World) -> None:
    aws = Lambda(live=3, deployed=3)
    late = aws.releases(numbered)
    rolled_back(numbered, aws, 1)
    with pytest.raises(Conflict, match="Version 2 is live for no function, and not for api, crew, worker"):
        late.make_live(late.earlier(2), lambda _: None)
    assert aws.live() == dict.fromkeys(NAMES, 1)


def test_a_deploy_makes_live_what_it_brought_also_after_a_rollback(numbered: World) -> None:
    aws = Lambda(live=2, deployed=3)
    releases = aws.releases(numbered)
    told: list[str] = []
    assert releases.deployed().number == 3
    assert releases.make_live(releases.deployed(), told.append) is True
    assert aws.live() == dict.fromkeys(NAMES, 3)
    assert told == list(NAMES)


def test_functions_of_several_builds_are_no_deploy(numbered: World) -> None:
    aws = Lambda(live=2, deployed=3)
    aws.functions["crew"] = replace(aws.functions["crew"], deployed=build(2))
    with pytest.raises(Conflict, match="functions are of several builds"):
        aws.releases(numbered).deployed()


def test_a_build_of_which_no_version_was_published_is_no_deploy(numbered: World) -> None:
    with pytest.raises(Conflict, match="or of one that was not published: a deploy is under way"):
        Lambda(live=2, deployed=4).releases(numbered).deployed()
