# ruff: noqa: SLF001  private names are what this module is about
"""Functions that were really deployed, run by the emulator as Lambda runs them: their code, their layers, alone.

ministack runs Python functions with its own interpreter and all that this one can import, so a package that
is missing from a layer would go unseen. Here a zip without a `bootstrap` is a function of a managed runtime:
the process is that runtime's, `/opt` is what its layers hold, and nothing of this machine is on its path.

What stands for `/var/runtime` is a folder that the starter gives, with one folder a runtime (`python3.13`)
and a `bootstrap` in it, which runs the runtime's interpreter, behind AWS_LAMBDA_EXEC_WRAPPER if that is set.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

NAMES: Final = (
    "ministack.core.lambda_runtime:_lock",
    "ministack.core.lambda_runtime:invalidate_worker",
    "ministack.core.lambda_runtime:kill_workers",
    "ministack.core.lambda_runtime:release_worker",
    "ministack.core.lambda_runtime:reset",
    "ministack.services.lambda_svc:_extract_zip_preserving_mode",
    "ministack.services.lambda_svc:_provided_code_lock",
    "ministack.services.lambda_svc:_provided_runtime_code_dir",
    "ministack.services.lambda_svc:_provided_worker_env",
    "ministack.services.lambda_svc:_resolve_layer_zip",
    "ministack.services.lambda_svc:invalidate_worker",
    "ministack.services.lambda_svc:release_worker",
)
"""What this module leans on; see `crewline.local.patches`."""

_OPT: Final = "/opt/"
_ENTRY: Final = '#!/bin/sh\nexec "$LAMBDA_RUNTIME_DIR/bootstrap"\n'
_SYSTEM: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "en_US.UTF-8", "TZ": ":UTC"}


def run_as_deployed(functions: Any, runtimes: Path) -> None:
    """Run zips without a `bootstrap` as functions of a managed runtime.

    Args:
        functions: ministack's module of Lambda.
        runtimes: What stands for `/var/runtime`, one folder a runtime.
    """
    sandboxes = _Sandboxes(functions, runtimes, Path(tempfile.mkdtemp(prefix="sandboxes-")))
    functions._provided_runtime_code_dir = sandboxes.task_root
    functions._provided_worker_env = sandboxes.environment


class _Sandboxes:
    """Where functions run: folders made once for each code and each set of layers."""

    def __init__(self, functions: Any, runtimes: Path, folder: Path) -> None:
        self._functions = functions
        self._stock_root: Callable[[bytes], str] = functions._provided_runtime_code_dir
        self._stock_environment: Callable[..., dict[str, str]] = functions._provided_worker_env
        self._runtimes = runtimes
        self._folder = folder
        self._entry = folder / "bootstrap"
        self._entry.write_text(_ENTRY)
        self._entry.chmod(0o755)

    def task_root(self, code: bytes) -> str:
        """Unpack a function's code; without a `bootstrap` it gets the managed runtime's, as a link."""
        root = self._stock_root(code)
        bootstrap = Path(root, "bootstrap")
        with self._functions._provided_code_lock:
            if not bootstrap.exists():
                bootstrap.symlink_to(self._entry)
        return root

    def environment(self, config: Mapping[str, Any], root: str, port: int) -> dict[str, str]:
        """Make the variables of a function's process: those of a sandbox of Lambda, and no others."""
        given = self._stock_environment(config, root, port)
        if not Path(root, "bootstrap").is_symlink():
            return given
        own = (config.get("Environment") or {}).get("Variables") or {}
        # The stock ones begin with all that the emulator was started with.
        kept = {
            name: value
            for name, value in given.items()
            if name in own or name.startswith("AWS_") or name not in os.environ
        }
        opt = self._opt(config.get("Layers") or ())
        runtime = self._runtimes / config["Runtime"]
        search = (opt / "python/lib" / config["Runtime"] / "site-packages", opt / "python", runtime)
        log_group = (config.get("LoggingConfig") or {}).get("LogGroup")
        return {
            **_SYSTEM,
            # The managed runtime's client looks into /opt itself, where nothing is on this machine.
            "PYTHONPATH": os.pathsep.join(map(str, search)),
            "LAMBDA_RUNTIME_DIR": str(runtime),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{config['Runtime']}",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": log_group or f"/aws/lambda/{config['FunctionName']}",
            **{
                name: f"{opt}/{value.removeprefix(_OPT)}" if value.startswith(_OPT) else value
                for name, value in kept.items()
            },
        }

    def _opt(self, layers: Iterable[Any]) -> Path:
        """Lay layers over one another in their order; once for each set of them."""
        archives = [archive for one in layers if (archive := self._functions._resolve_layer_zip(one))]
        digests = [hashlib.sha256(archive).hexdigest() for archive in archives]
        opt = self._folder / f"opt-{hashlib.sha256(''.join(digests).encode()).hexdigest()[:16]}"
        # No process may be started meanwhile: it would inherit a file that is being written, and
        # who executes that one is refused.
        with self._functions._provided_code_lock:
            if not opt.exists():
                unpacked = [self._layer(*one) for one in zip(digests, archives, strict=True)]
                made = Path(tempfile.mkdtemp(dir=self._folder))
                _lay_over(unpacked, made)
                made.rename(opt)
        return opt

    def _layer(self, digest: str, archive: bytes) -> Path:
        layer = self._folder / f"layer-{digest[:16]}"
        if not layer.exists():
            unpacked = Path(tempfile.mkdtemp(dir=self._folder))
            with zipfile.ZipFile(io.BytesIO(archive)) as content:
                self._functions._extract_zip_preserving_mode(content, str(unpacked))
            unpacked.rename(layer)
        return layer


def _lay_over(folders: Sequence[Path], target: Path) -> None:
    """Show several folders as one, by links: what a later one has hides what the ones before have."""
    places: dict[str, list[Path]] = {}
    for folder in folders:
        for place in folder.iterdir():
            places.setdefault(place.name, []).append(place)
    for name, found in places.items():
        inner = [place for place in found if place.is_dir()]
        if len(inner) > 1 and found[-1].is_dir():
            (target / name).mkdir()
            _lay_over(inner, target / name)
        else:
            (target / name).symlink_to(found[-1])


def let_invocations_end(runtime: Any, functions: Any) -> None:
    """Let invocations end in the process that began them when their function is changed meanwhile.

    ministack kills all processes of a function that is updated; Lambda starts no other invocation in
    them, and lets go of each when the one under way is through.

    Args:
        runtime: ministack's module of workers.
        functions: Its module of Lambda, which has names of the other one.
    """
    stock_invalidate, stock_kill = runtime.invalidate_worker, runtime.kill_workers
    stock_release, stock_reset = runtime.release_worker, runtime.reset
    retired: set[Any] = set()
    invalidating = threading.local()

    def invalidate(*arguments: Any, **options: Any) -> None:
        invalidating.now = True
        try:
            stock_invalidate(*arguments, **options)
        finally:
            invalidating.now = False

    def kill(workers: Iterable[Any]) -> None:
        doomed = [worker for worker in workers if worker is not None]
        if getattr(invalidating, "now", False):
            with runtime._lock:
                busy = {worker for worker in doomed if worker.in_use}
                retired.update(busy)
            doomed = [worker for worker in doomed if worker not in busy]
        stock_kill(doomed)

    def release(worker: Any) -> None:
        stock_release(worker)
        with runtime._lock:
            gone = worker in retired
            retired.discard(worker)
        if gone:
            stock_kill([worker])

    def reset() -> None:
        with runtime._lock:
            doomed = list(retired)
            retired.clear()
        stock_kill(doomed)
        stock_reset()

    runtime.kill_workers, runtime.reset = kill, reset
    for module in (runtime, functions):
        module.invalidate_worker, module.release_worker = invalidate, release
