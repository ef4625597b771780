"""Zips of what layers hold, each made once for what it is made from."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crewline_cdk.interpreters import Interpreter

_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip can hold."""


@dataclass(frozen=True, slots=True)
class Archive:
    """The zip of a layer."""

    path: Path
    digest: str
    """What its content was made from, which names its version: the same on every machine."""

    def packages(self) -> Counter[str]:
        """Weigh what the zip holds.

        Returns:
            Package, or folder where there are none → its unpacked bytes.
        """
        sizes: Counter[str] = Counter()
        with zipfile.ZipFile(self.path) as archive:
            for entry in archive.infolist():
                top, *rest = entry.filename.split("/")
                sizes[rest[0] if top == "python" and rest else top] += entry.file_size
        return sizes


def make_archive(
    name: str,
    cache: Path,
    fill: Callable[[Path], None],
    *,
    interpreter: Interpreter | None,
    made_from: str | None = None,
) -> Archive:
    """Make the zip of a layer, unless it is there already from the same.

    Args:
        name: What the zip's name begins with.
        cache: The folder that keeps zips.
        fill: Fills an empty folder with what Lambda unpacks under `/opt`.
        interpreter: Compiles what is Python in it; without one Lambda does so, at every cold start.
        made_from: What decides the content; without it, that is read after it was filled in.

    Raises:
        CrewlineError: The layer cannot be filled.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        folder = Path(temporary) / name
        folder.mkdir()
        if made_from is None:
            fill(folder)
        source = made_from or fingerprint(folder)
        compiled = interpreter.magic if interpreter else "not compiled"
        digest = hashlib.sha256(f"{source} {compiled}".encode()).hexdigest()
        path = cache / f"{name}-{digest[:32]}.zip"
        if not path.exists():
            if made_from is not None:
                fill(folder)
            if interpreter:
                _compile(folder, interpreter)
            unfinished = Path(temporary) / "unfinished.zip"
            _pack(folder, unfinished)
            unfinished.replace(path)
    return Archive(path, digest)


def fingerprint(folder: Path) -> str:
    """Fingerprint the files of a folder: their names and bytes, and nothing that a machine adds.

    Modes are not among it: installers of wheels set them as they like.
    """
    digest = hashlib.sha256()
    for path in _files(folder):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _compile(folder: Path, interpreter: Interpreter) -> None:
    """Compile the Python files of a layer, such that Lambda asks for no source's time or hash.

    A file that is no Python, such as a template, stays as it is: the command's status tells only that.
    """
    command = [str(interpreter.path), "-I", "-m", "compileall", "-qq", "-j", "0"]
    mode = ["--invalidation-mode", "unchecked-hash"]
    # Tracebacks then say /opt/… and not where this machine had the folder.
    names = ["-s", str(folder), "-p", "/opt"]
    subprocess.run([*command, *mode, *names, str(folder)], check=False)  # noqa: S603


def _pack(folder: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed:
        for path in _files(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            mode = 0o755 if os.access(path, os.X_OK) else 0o644
            entry.external_attr = (0o100000 | mode) << 16
            packed.writestr(entry, path.read_bytes())
