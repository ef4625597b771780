"""The code of a project: what its manifest names by file and attribute, imported."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from crewline.errors import BadManifest, CrewFailedToLoad
from crewline.models.manifests import Manifest, Reference


def load(reference: Reference, manifest: Manifest, *, where: str) -> Any:
    """Import a file of a project and give what it calls by a name.

    The import folders are put on `sys.path` first, so that the file finds its neighbours.

    Args:
        reference: The file and the name.
        manifest: The project's.
        where: Begins what errors say: what this is, and its file.

    Raises:
        BadManifest: The file has nothing of this name.
        CrewFailedToLoad: The file raised while it was imported.
    """
    for folder in reversed(manifest.import_folders):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    try:
        module = _import(reference.path, manifest)
    except (Exception, SystemExit) as exc:
        raise CrewFailedToLoad(f"{where} fails to import: {type(exc).__name__}: {exc}") from exc
    if not hasattr(module, reference.attribute):
        raise BadManifest(
            f"{where} has no {reference.attribute!r}; correct the name after the colon in {manifest.path}."
        )
    return getattr(module, reference.attribute)


def _import(path: Path, manifest: Manifest) -> ModuleType:
    """Import a file, as the module it is to its neighbours when it lies in an import folder.

    A type's module name is in every checkpoint that holds one, so it must be the same in every
    process; and a file must not be imported twice under two names.
    """
    for folder in manifest.import_folders:
        if path.is_relative_to(folder):
            name = ".".join(path.relative_to(folder).with_suffix("").parts)
            if _finds(name, path):
                return importlib.import_module(name)
    where = path.relative_to(manifest.folder) if path.is_relative_to(manifest.folder) else path
    name = f"crew_{path.stem}_{sha256(where.as_posix().encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path.name} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _finds(name: str, path: Path) -> bool:
    """Tell whether importing a name gives a file, and not another module that has the name."""
    if not all(part.isidentifier() for part in name.split(".")):
        return False
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # its folder has the name of a module that is no package
        return False
    return bool(spec and spec.origin and Path(spec.origin).resolve() == path)
