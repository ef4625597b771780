"""The function's code: where it is found, how it is loaded, what it wants done around a snapshot."""

from __future__ import annotations

import gc
import importlib
import os
import random
import site
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from streaming_bootstrap.failures import Failure, failure_of
from streaming_bootstrap.runtime_api import RuntimeApi

Handler = Callable[[Any, Any], Any]


class HandlerNotLoaded(Exception):
    """The function has no such handler.

    Args:
        kind: Lambda's name for it.
        message: What is wrong.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def set_search_path() -> None:
    """Find modules where Lambda's own client does: the function first, then layers, then the runtime."""
    runtime = os.environ.get("LAMBDA_RUNTIME_DIR", "/var/runtime")
    sys.path[0] = runtime  # in place of this bootstrap's folder: all of it is imported by now
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    layers = [f"/opt/python/lib/{version}/site-packages", "/opt/python"]
    if "PYTHONPATH" in os.environ:
        layers = []  # a function that sets it means it
    os.environ.setdefault("PYTHONPATH", runtime)
    folders = [os.environ["LAMBDA_TASK_ROOT"], *layers]
    sys.path[:0] = folders
    for folder in folders:
        site.addsitedir(folder)  # reads path files


def load(name: str) -> tuple[ModuleType, Handler]:
    """Import a handler.

    Args:
        name: Module and function, such as `handler.answer`.

    Returns:
        The module, and the handler in it.

    Raises:
        HandlerNotLoaded: There is no such module or function.
    """
    module_name, dot, function_name = name.rpartition(".")
    if not dot:
        raise HandlerNotLoaded("Runtime.MalformedHandlerName", f"Bad handler {name!r}: it lacks a dot.")
    # What is imported stays: the collector would walk it again and again meanwhile, a tenth of a cold start.
    gc.disable()
    try:
        module = importlib.import_module(module_name.replace("/", "."))
    except ImportError as exc:
        raise HandlerNotLoaded(
            "Runtime.ImportModuleError", f"Unable to import module {module_name!r}: {exc}"
        ) from exc
    except SyntaxError as exc:
        raise HandlerNotLoaded(
            "Runtime.UserCodeSyntaxError", f"Syntax error in module {module_name!r}: {exc}"
        ) from exc
    finally:
        gc.freeze()
        gc.enable()
    handler = getattr(module, function_name, None)
    if not callable(handler):
        raise HandlerNotLoaded(
            "Runtime.HandlerNotFound", f"Handler {function_name!r} missing on module {module_name!r}"
        )
    return module, handler


def pass_snapshot(api: RuntimeApi, module: ModuleType) -> int:
    """Let Lambda take its snapshot, and make this process one of its own after the restore.

    Hooks are those registered with `snapshot_restore_py`, which the managed runtime has, and the
    module's `after_restore()`.

    Args:
        api: The Runtime API.
        module: The handler's module.

    Returns:
        0, or the status to exit with.

    Raises:
        RuntimeApiBroken: The Runtime API did not answer as it must.
    """
    registry = sys.modules.get("snapshot_restore_py")  # nobody registered with what nobody imported
    before = reversed(registry.get_before_snapshot()) if registry else ()
    if failure := _run(before, "Runtime.BeforeSnapshotError"):
        api.report_init(failure)
        return 64
    api.await_restore()
    random.seed()  # or every sandbox of one snapshot draws the same numbers
    after = [*registry.get_after_restore()] if registry else []
    if hook := getattr(module, "after_restore", None):
        after.append((hook, (), {}))
    if failure := _run(after, "Runtime.AfterRestoreError"):
        api.report_restore(failure)
        return 65
    return 0


def _run(hooks: Iterable[tuple[Callable[..., Any], Any, Any]], kind: str) -> Failure | None:
    try:
        for hook, args, kwargs in hooks:
            hook(*args, **kwargs)
    except Exception as exc:  # noqa: BLE001 (Lambda is told of it)
        failure = failure_of(exc, kind=kind)
        failure.log()
        return failure
    return None
