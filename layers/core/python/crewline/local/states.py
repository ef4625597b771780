"""The state folder of a local service: what survives a stop, its logs, and who is using it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from crewline.local.failures import LocalServiceError

_PRIVATE: Final = 0o700
"""The emulator keeps the functions' variables, and so whatever secrets a project's env file has."""


@dataclass(frozen=True, slots=True)
class StateFolder:
    """A state folder that this process holds."""

    root: Path
    lock: int
    """Descriptor of the lock; whoever inherits it holds the folder too."""

    @property
    def services(self) -> Path:
        """What the emulator saves of each service."""
        return self.root / "cloud"

    @property
    def objects(self) -> Path:
        """The contents of its buckets."""
        return self.root / "objects"

    @property
    def temporary(self) -> Path:
        """Temporary files, emptied at each start."""
        return self.root / "tmp"

    @property
    def sources(self) -> Path:
        """Copies of the project's modules; gone at the next start."""
        return self.temporary / "sources"

    @property
    def logs(self) -> Path:
        """The folder of the logs."""
        return self.root / "logs"

    @property
    def cloud_log(self) -> Path:
        """The emulator's log of this start."""
        return self.logs / "cloud.log"

    @property
    def function_log(self) -> Path:
        """What functions printed since this start."""
        return self.logs / "functions.log"

    @property
    def address(self) -> Path:
        """Where a running service says its process id and URL; see `crewline.local.children`."""
        return self.root / "service.json"


@contextmanager
def held(root: Path) -> Iterator[StateFolder]:
    """Hold a state folder, made if need be, for one local service at a time.

    Args:
        root: The folder.

    Yields:
        The folder, with its logs and temporary files emptied.

    Raises:
        LocalServiceError: Another service holds it, or it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as exc:
        raise LocalServiceError(
            f"The state folder {root} cannot be used ({exc.strerror}); choose another with --state."
        ) from exc
    try:
        _claim(root, lock)
        state = StateFolder(root, lock)
        _prepare(state)
        yield state
    finally:
        os.close(lock)


def _claim(root: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        holder = os.pread(lock, 32, 0).decode().strip() or "unknown"
        raise LocalServiceError(
            f"The state folder {root} is in use by another `crewline dev` (process {holder}); "
            "stop that one or choose another folder with --state."
        ) from exc
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)


def _prepare(state: StateFolder) -> None:
    shutil.rmtree(state.temporary, ignore_errors=True)
    for folder in (state.services, state.objects, state.temporary, state.logs):
        folder.mkdir(exist_ok=True)
        folder.chmod(_PRIVATE)
    (state.root / ".gitignore").write_text("*\n")
    state.function_log.write_bytes(b"")
    state.address.unlink(missing_ok=True)
