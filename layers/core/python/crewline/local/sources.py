"""What a project is made of on a laptop: the files whose change is a reason to load it anew.

Processes that load a project come when there is work for them, maybe in the middle of an edit. So what
is loaded is a copy, kept when it was good: modules have the names and places of the originals, and the
code that they had then.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, Final

from crewline.models.manifests import FILENAMES, Manifest

_SUFFIX: Final = ".py"
_INDEX: Final = "index.json"
_NOT_OURS: Final = frozenset({"node_modules", "__pycache__", "site-packages"})
"""Folders that hold no source of the project; nor do hidden ones, or virtual environments of any name."""


def folders(manifest: Manifest) -> list[Path]:
    """List the folders of a project and of its local dependencies, without what is installed or generated there.

    Args:
        manifest: The project's manifest.

    Returns:
        Each folder once, sorted; the folder of the env file is among them.
    """
    found = {manifest.folder}
    for root in (manifest.folder, *manifest.local_folders):
        found.update(below(root))
    if isinstance(manifest.env, Path) and manifest.env.parent.is_dir():
        found.add(manifest.env.parent.resolve())
    return sorted(found)


def is_source(path: Path, manifest: Manifest) -> bool:
    """Tell whether a file is one whose change is a reason to load the project anew."""
    return path.suffix == _SUFFIX or path.name in FILENAMES or path == _env_file(manifest)


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder that may hold sources; one that may not be read, as of a database, holds none."""
    if path.name in _NOT_OURS or path.name.startswith("."):
        return False
    try:
        return path.is_dir() and not (path / "pyvenv.cfg").is_file()
    except PermissionError:
        return False


def snapshot(manifest: Manifest) -> dict[Path, bytes]:
    """Read all sources of a project.

    Args:
        manifest: The project's manifest; where it lies and what it names counts, not what it says now.

    Returns:
        File → its content; sorted.
    """
    paths = {path for folder in folders(manifest) for path in _files(folder) if is_source(path, manifest)}
    paths.add(manifest.path)
    if env := _env_file(manifest):
        paths.add(env)
    taken = ((path, _content(path)) for path in sorted(paths))
    return {path: content for path, content in taken if content is not None}


def digest(taken: Mapping[Path, bytes]) -> str:
    """Name a snapshot by its content: 32 hex digits."""
    whole = sha256()
    for path, content in taken.items():
        whole.update(os.fsencode(path) + b"\0" + sha256(content).digest())
    return whole.hexdigest()[:32]


def changed(before: Mapping[Path, bytes], after: Mapping[Path, bytes]) -> list[Path]:
    """List the files that two snapshots do not have alike."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def keep(taken: Mapping[Path, bytes], folder: Path) -> Path:
    """Keep a copy of a snapshot's modules.

    Args:
        taken: The snapshot.
        folder: The folder of all copies.

    Returns:
        The folder of this copy, which its content names: see `pin`.
    """
    kept = folder / digest(taken)
    if not kept.is_dir():
        draft = kept.with_suffix(".tmp")
        draft.mkdir(parents=True, exist_ok=True)
        index: dict[str, str] = {}
        for path, content in taken.items():
            if path.suffix == _SUFFIX:
                index[str(path)] = f"{len(index)}{_SUFFIX}"
                (draft / index[str(path)]).write_bytes(content)
        (draft / _INDEX).write_text(json.dumps(index))
        draft.rename(kept)
    return kept


def pin(kept: Path) -> None:
    """Have this process import modules as they were when a copy of them was kept.

    Args:
        kept: The folder of the copy.
    """
    copies = {path: kept / name for path, name in json.loads((kept / _INDEX).read_bytes()).items()}
    get_data, path_stats = SourceFileLoader.get_data, SourceFileLoader.path_stats

    def read(self: SourceFileLoader, path: str) -> bytes:
        return copies[path].read_bytes() if path in copies else get_data(self, path)

    def stats(self: SourceFileLoader, path: str) -> Mapping[str, Any]:
        if path in copies:
            raise OSError  # so that no bytecode is taken, or written, that lies beside the original
        return path_stats(self, path)

    SourceFileLoader.get_data = read  # type: ignore[method-assign,assignment]
    SourceFileLoader.path_stats = stats  # type: ignore[method-assign]


def below(root: Path) -> Iterator[Path]:
    """Walk through a folder and those below it that may hold sources."""
    for folder, inner, _ in os.walk(root):
        yield Path(folder)
        inner[:] = [name for name in inner if is_folder(Path(folder, name))]


def _files(folder: Path) -> Iterator[Path]:
    try:
        yield from folder.iterdir()
    except FileNotFoundError:
        return  # it went while we looked


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        return None  # whoever imports what may not be read is told so by Python


def _env_file(manifest: Manifest) -> Path | None:
    return manifest.env if isinstance(manifest.env, Path) else None
