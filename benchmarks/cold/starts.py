"""Cold starts: fresh processes that import a function's file, as the runtime does, and see nothing else."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.cold.layouts import ARCHITECTURE, Layout
from crewline_cdk.bundles import Target, bundle_dependencies

PEER: Final = "peer"
"""What the budget compares with: boto3 and its client, Powertools' resolver with validation, and pydantic."""

PEER_CODE: Final = """
import boto3, pydantic
from aws_lambda_powertools.event_handler import APIGatewayRestResolver
class Model(pydantic.BaseModel):
    name: str
boto3.client("dynamodb")
APIGatewayRestResolver(enable_validation=True)
"""
_FUNCTION: Final = "import handler"
_STREAMED: Final = "from streaming_bootstrap.handlers import load; load('handler.answer')"
"""As the streaming bootstrap does it."""

_PROGRAM: Final = """
import json, sys, time
sys.path.insert(0, {runtime!r})
import {bootstrap}
sys.path[:1] = [{task!r}, {packages!r}]
before, began, spent = set(sys.modules), time.perf_counter(), time.process_time()
{code}
spent, took = time.process_time() - spent, time.perf_counter() - began
files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
caches = [spec.cached for module in sys.modules.values() if (spec := getattr(module, "__spec__", None))]
print(json.dumps([spent * 1000, took * 1000, [n for n in sys.modules if n not in before], files, caches]))
"""
_IMPORTS: Final = 3
"""How often a module's import is timed; the shortest counts."""

_CLIENT: Final = ("awslambdaric", "simplejson", "snapshot-restore-py")
_IMPORT: Final = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Start:
    """One cold start, from when the runtime asks for the function to when it has it."""

    cpu_ms: float
    wall_ms: float
    modules: list[str]
    """What it imported; the runtime's own modules are not among it."""
    files: list[str]
    """Where everything that the process imported lies."""
    caches: list[str | None]
    """Where its bytecode would be."""


@dataclass(slots=True)
class Starts:
    """The cold starts of one subject."""

    name: str
    all: list[Start] = field(default_factory=list)

    @property
    def cpu_ms(self) -> float:
        """The median."""
        return statistics.median(start.cpu_ms for start in self.all)

    @property
    def wall_ms(self) -> float:
        """The median."""
        return statistics.median(start.wall_ms for start in self.all)

    @property
    def modules(self) -> list[str]:
        """What was imported."""
        return self.all[0].modules


def install_client(lock: Path, folder: Path) -> Path:
    """Install the managed runtime's client, which Lambda itself has.

    Args:
        lock: A lock that has it.
        folder: Where to.

    Returns:
        The folder to import it from.
    """
    blocks = re.findall(r"^\S+==(?:.*\\\n)*.*\n", lock.read_text(), re.MULTILINE)
    chosen = folder / "client.txt"
    chosen.write_text("".join(block for block in blocks if block.split("==")[0] in _CLIENT))
    bundle_dependencies(chosen, Target(architecture=ARCHITECTURE), folder)
    return folder / "python"


def start(interpreter: Path, layout: Layout, client: Path, *, code: str | None = None) -> Start:
    """Start a function in a fresh process.

    Args:
        interpreter: A Python of the functions' version.
        layout: The function.
        client: The managed runtime's client, for a function that does not stream.
        code: What is run in its place.

    Raises:
        RuntimeError: It cannot be imported; the message has its traceback.
    """
    cpu_ms, wall_ms, modules, files, caches = json.loads(_run(interpreter, layout, client, code=code)[0])
    return Start(cpu_ms, wall_ms, modules, files, caches)


def importers(interpreter: Path, layout: Layout, client: Path) -> Counter[str]:
    """Tell whose modules take how long to import.

    Returns:
        Package → milliseconds, its dependencies' apart.
    """
    shortest: dict[str, int] = {}
    for _ in range(_IMPORTS):
        _, told = _run(interpreter, layout, client, options=("-X", "importtime"))
        for micros, module in _IMPORT.findall(told):
            shortest[module] = min(int(micros), shortest.get(module, sys.maxsize))
    spent: Counter[str] = Counter()
    for module, least in shortest.items():
        spent[module.split(".")[0]] += least / 1000  # type: ignore[assignment]
    del spent["handler"]  # what its file does beside imports
    return spent


def _run(
    interpreter: Path, layout: Layout, client: Path, *, code: str | None = None, options: Sequence[str] = ()
) -> tuple[str, str]:
    program = _PROGRAM.format(
        runtime=str(layout.opt / "streaming" if layout.streams else client),
        bootstrap="streaming_bootstrap.loop" if layout.streams else "awslambdaric.bootstrap",
        task=str(layout.task),
        packages=str(layout.opt / "python"),
        code=code or (_STREAMED if layout.streams else _FUNCTION),
    )
    # -I and -S: neither variables nor site-packages of this machine. -B: what is not compiled stays so.
    command = [str(interpreter), "-I", "-S", "-B", *options, "-c", program]
    ended = subprocess.run(command, env=layout.environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{layout.name} cannot be imported:\n{ended.stderr}")
    return ended.stdout, ended.stderr
