"""Deployments as requests of `/v1` name them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crewline.errors import NotFound, UnknownCrew
from crewline.models.public_ids import parse_deployment


@contextmanager
def naming_deployment(text: str) -> Iterator[str]:
    """Give the core's id or name of a deployment, and say as the request does when it is not there.

    Raises:
        BadRequest: It is the id of something else.
        NotFound: There is no such deployment.
    """
    try:
        yield parse_deployment(text)
    except (NotFound, UnknownCrew) as exc:
        raise NotFound(
            f"There is no deployment {text}; POST /assistants/search lists those there are."
        ) from exc
