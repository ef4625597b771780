"""Releases: which version of a deployment is live, and making another one so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from crewline.errors import Conflict, CrewlineError, NotFound
from crewline.models.releases import Release
from crewline.models.versions import Version
from crewline.store.aliases import Function


class Versions(Protocol):
    """Numbers builds."""

    def number(self, build: str) -> int:
        """Tell the number of a build; a new one gets the next."""

    def list(self) -> list[Version]:
        """List all versions, the newest first."""


class Releases:
    """The functions of one deployment as they were read, and what can be live of them.

    Args:
        functions: The functions.
        point: Makes another build of one of them live, unless somebody else has changed what is.
        versions: Numbers builds.
    """

    def __init__(
        self, functions: Sequence[Function], point: Callable[[Function, str], None], versions: Versions
    ) -> None:
        self._functions = functions
        self._point = point
        self._versions = versions

    @property
    def count(self) -> int:
        """How many functions there are."""
        return len(self._functions)

    def list(self) -> list[Release]:
        """List the versions, the newest first; what is live is numbered by this at the latest.

        Raises:
            Unavailable: AWS did not answer.
        """
        for function in self._functions:
            self._versions.number(function.live)
        return [
            Release(
                version=version,
                live=tuple(one.name for one in self._functions if one.live == version.build),
                complete=all(version.build in one.kept for one in self._functions),
            )
            for version in self._versions.list()
        ]

    def earlier(self, number: int | None) -> Version:
        """Choose the version that a rollback is to.

        Where an earlier rollback is not complete, functions are live with two versions: the newest of them is what
        is rolled back, so that doing the same again completes it.

        Args:
            number: The version; without it the newest before that which is live, of those that can be so again: one
                whose deploy failed cannot.

        Raises:
            NotFound: There is no such version.
            Conflict: A function does not keep it, or there is none before.
            Unavailable: AWS did not answer.
        """
        releases = self.list()
        if number is None:
            live = next(release.version.number for release in releases if release.live)
            before = [one for one in releases if one.version.number < live]
            if not before:
                raise Conflict(f"Version {live} is live, and there is none before it.")
            chosen = next((one for one in before if one.complete), before[0])
        else:
            named = [one for one in releases if one.version.number == number]
            if not named:
                known = ", ".join(str(release.version.number) for release in releases[:10])
                raise NotFound(
                    f"There is no version {number}; there are {known}, and `crewline versions` tells more."
                )
            (chosen,) = named
        if not chosen.complete:
            missing = ", ".join(one.name for one in self._functions if chosen.version.build not in one.kept)
            raise Conflict(
                f"Version {chosen.version.number} cannot be live again: Lambda keeps no version of it for {missing}. "
                "Choose another one with --to, or deploy what it was made from."
            )
        return chosen.version

    def deployed(self) -> Version:
        """Tell the version that the last deploy brought; it is numbered by this at the latest.

        Raises:
            Conflict: The functions are of several builds, or of one that was not published: a deploy is under way,
                or has failed.
            Unavailable: AWS did not answer.
        """
        builds = {one.deployed for one in self._functions}
        if len(builds) > 1 or any(one.deployed not in one.kept for one in self._functions):
            raise Conflict(
                "The functions are of several builds, or of one that was not published: a deploy is under way, or "
                "has failed; deploy again."
            )
        (build,) = builds
        self._versions.number(build)
        return next(version for version in self._versions.list() if version.build == build)

    def make_live(self, version: Version, moved: Callable[[str], None]) -> bool:
        """Make a version live, function after function; those where it is are left alone.

        Invocations under way end on the version that they began with, and a run that goes on in another
        invocation does so on this one.

        Args:
            version: The version, which every function keeps.
            moved: Is told the name of each function as its version is live.

        Returns:
            Whether anything has changed.

        Raises:
            CrewlineError: One could not be changed; the message says what is where, and how to go on. Of the class
                that says why.
        """
        behind = [one for one in self._functions if one.live != version.build]
        done = [one.name for one in self._functions if one.live == version.build]
        for place, function in enumerate(behind):
            try:
                self._point(function, version.build)
            except CrewlineError as exc:
                rest = ", ".join(one.name for one in behind[place:])
                raise type(exc)(
                    f"{exc.message} Version {version.number} is live for {', '.join(done) or 'no function'}, and not for "
                    f"{rest}: say the same again with --rollback --to {version.number}, which completes it."
                ) from exc
            done.append(function.name)
            moved(function.name)
        return bool(behind)
