"""The functions' entry points, loaded from their files into this process."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from crewline.local import invocations
from crewline.local.failures import LocalServiceError
from crewline.local.frontdoor import Answer, FrontDoor
from crewline.models.cors import LOOPBACK
from crewline.models.manifests import Manifest
from crewline.settings import read_settings

ANSWERING: Final = ("api", "crew", "tail")
"""The functions that answer requests."""


@contextmanager
def front_door(functions: Path, manifest: Manifest, *, replaced: bool = False) -> Iterator[FrontDoor]:
    """Load what answers requests, the crews among it, into this process, which has the environment of a function.

    Args:
        functions: The folder with one folder a function.
        manifest: The project.
        replaced: Whether another process may take this one's place.

    Yields:
        The front door, not yet served.

    Raises:
        BadManifest: The manifest names something that is not there.
        CrewFailedToLoad: A crew of the project raised while it was imported.
        LocalServiceError: A function is missing.
    """
    answers: dict[str, Answer] = {}
    with invocations.served(answers) as endpoint:
        os.environ["AWS_ENDPOINT_URL_LAMBDA"] = endpoint
        answers |= load_answers(functions, ANSWERING)
        yield FrontDoor(
            answers,
            max_body_bytes=read_settings(os.environ).max_body_bytes,
            cors=manifest.cors or LOOPBACK,
            replaced=replaced,
        )


def load_answers(functions: Path, names: Iterable[str]) -> dict[str, Answer]:
    """Import the handlers of functions that answer HTTP requests.

    Each gets a module name of its own, since all files are called `handler.py`. What a handler
    raises while it is imported passes through: a crew that does not load names itself.

    Args:
        functions: The folder with one folder a function.
        names: Which functions.

    Returns:
        Name → the handler's `answer`.

    Raises:
        LocalServiceError: A function has no `handler.py`, or that has no `answer`.
    """
    return {name: _load(functions / name / "handler.py", f"crewline_function_{name}") for name in names}


def _load(path: Path, module_name: str) -> Answer:
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise LocalServiceError(f"There is no function at {path}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    answer: Answer | None = getattr(module, "answer", None)
    if answer is None:
        raise LocalServiceError(f"{path} has no `answer`.")
    return answer
