"""The code that the local cloud's functions are given: a `bootstrap` that points at this checkout."""

from __future__ import annotations

import hashlib
import io
import os
import shlex
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crewline import locations

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold; the same content gives the same bytes, and no update."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A small zip and the key under which the local cloud keeps it."""

    key: str
    content: bytes


def function_bundle(function: Path, working_folder: Path, kept: Path) -> Bundle:
    """Make the zip of a function: only a `bootstrap` that runs the folder's code in this interpreter.

    It names the copy of the project's modules that it loads, and so the local cloud takes edited ones for
    other code: processes that have loaded what was before get no invocation any more.

    Args:
        function: The folder that holds the function's `handler.py`.
        working_folder: Where the function runs: the project.
        kept: The copy, as `sources.keep` makes it.

    Returns:
        The zip; equal bytes for equal arguments.
    """
    folders = (str(function), str(locations.IMPORT_ROOT))
    script = "\n".join(
        (
            "#!/bin/sh",
            f"export PYTHONPATH={shlex.quote(os.pathsep.join(folders))}${{PYTHONPATH:+:$PYTHONPATH}}",
            f"cd {shlex.quote(str(working_folder))} || exit 1",
            # -P: a handler.py in the project must not be taken for the function's.
            f'exec {shlex.quote(sys.executable)} -P -m crewline.local.worker "$_HANDLER" {shlex.quote(str(kept))}',
            "",
        )
    )
    return _bundle(function.name, "bootstrap", script.encode())


def layer_bundle() -> Bundle:
    """Make the zip that stands for every layer: the interpreter has what layers hold."""
    return _bundle("layer", "python/README", b"The local cloud takes this from the interpreter.\n")


def _bundle(stem: str, name: str, content: bytes) -> Bundle:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.external_attr = 0o100755 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, content)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
    return Bundle(f"{stem}-{digest}.zip", buffer.getvalue())
