# ruff: noqa: SLF001  private names are what this module is about
"""What we change in ministack, and the check that all of it is there.

ministack is pinned: these are private names. Each change makes the emulator behave as AWS does where
our functions would notice, and goes when a release does it by itself.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from crewline.local import sandboxes, schedules, streamed
from crewline.local.failures import LocalServiceError

_PINNED: Final = "1.5.33"

_ITEM_OPERATIONS: Final = (
    "_put_item",
    "_get_item",
    "_delete_item",
    "_update_item",
    "_query",
    "_scan",
    "_batch_write_item",
    "_batch_get_item",
    "_transact_write_items",
    "_transact_get_items",
)

_READERS: Final = ("_tokenize", "_condition_syntax_error")

_NAMES: Final = (
    "ministack.app:app",
    "ministack.core.lambda_runtime:ProvidedWorker._build_handler_class",
    "ministack.core.lambda_runtime:ProvidedWorker._drain_stderr_bounded",
    "ministack.core.lambda_runtime:ProvidedWorker._pump_output",
    "ministack.core.lambda_runtime:_worker_class_for",
    "ministack.core.lambda_runtime:reset",
    "ministack.services.lambda_svc:_execute_function_provided_warm",
    "ministack.services.lambda_svc:_execute_function_warm",
    "ministack.services.dynamodb:_lock",
    *(f"ministack.services.dynamodb:{name}" for name in (*_ITEM_OPERATIONS, *_READERS)),
    *sandboxes.NAMES,
    *schedules.NAMES,
    *streamed.NAMES,
)


def check_names(names: tuple[str, ...] = _NAMES) -> None:
    """Check that every private name of ministack on which we lean exists.

    Args:
        names: `module:attribute.attribute`.

    Raises:
        LocalServiceError: One does not; the message names the release that has them all.
    """
    missing = [name for name in names if not _exists(name)]
    if missing:
        raise LocalServiceError(
            f"ministack {metadata.version('ministack')} lacks {', '.join(missing)}; "
            f"the local cloud needs ministack=={_PINNED}."
        )


def apply(function_log: Path, runtimes: Path | None = None) -> None:
    """Change ministack in this process; call once, before it serves.

    Args:
        function_log: File to which every line is appended that a function prints.
        runtimes: What stands for `/var/runtime`, for functions that are really deployed; see
            `crewline.local.sandboxes`. Without it a function's code must be a `bootstrap`.
    """
    runtime = importlib.import_module("ministack.core.lambda_runtime")
    functions = importlib.import_module("ministack.services.lambda_svc")
    _route_python_to_bootstrap(runtime, functions)
    sandboxes.let_invocations_end(runtime, functions)
    if runtimes:
        sandboxes.run_as_deployed(functions, runtimes)
    streamed.take_streams(runtime.ProvidedWorker)
    streamed.answer_streaming_integrations(
        importlib.import_module("ministack.services.apigateway_v1"),
        importlib.import_module("ministack.core.responses").StreamingResponse,
    )
    _send_without_delay(runtime.ProvidedWorker)
    _wait_for_no_output(runtime.ProvidedWorker)
    _keep_function_output(runtime.ProvidedWorker, function_log)
    schedules.fire_at_their_minute()
    dynamodb = importlib.import_module("ministack.services.dynamodb")
    _serialise_item_operations(dynamodb)
    read_expressions_once(dynamodb)


def read_expressions_once(dynamodb: Any) -> None:
    """Let the tables remember how an expression reads.

    They take its text apart for every item that a query passes, which is most of what a query costs.

    Args:
        dynamodb: ministack's module of tables.
    """
    for name in _READERS:
        setattr(dynamodb, name, functools.lru_cache(maxsize=1_024)(getattr(dynamodb, name)))


def _exists(name: str) -> bool:
    module, _, path = name.partition(":")
    try:
        target: Any = importlib.import_module(module)
        for attribute in path.split("."):
            target = getattr(target, attribute)
    except (ImportError, AttributeError):
        return False
    return True


def _is_python(config: dict[str, Any]) -> bool:
    return str(config.get("Runtime", "")).startswith("python")


def _route_python_to_bootstrap(runtime: Any, functions: Any) -> None:
    # Its own Python workers turn every exception into Runtime.HandlerError and die of it; behind
    # its Runtime API the real runtime client reports the class, as on AWS.
    stock_class, stock_execute = runtime._worker_class_for, functions._execute_function_warm
    execute = functions._execute_function_provided_warm

    def worker_class(config: dict[str, Any]) -> Any:
        return runtime.ProvidedWorker if _is_python(config) else stock_class(config)

    def execute_warm(function: dict[str, Any], event: Any, request_id: str) -> Any:
        config = function.get("config") or function
        return (execute if _is_python(config) else stock_execute)(function, event, request_id)

    runtime._worker_class_for = worker_class
    functions._execute_function_warm = execute_warm


def _send_without_delay(worker: Any) -> None:
    # Headers and body leave as two small packets otherwise, and the second waits 40 ms for the
    # acknowledgement of the first: 52 ms a call instead of 9.
    stock = worker._build_handler_class

    @functools.wraps(stock)
    def build(*arguments: Any) -> Any:
        handler = stock(*arguments)
        handler.disable_nagle_algorithm = True
        handler.wbufsize = -1
        return handler

    worker._build_handler_class = build


def _wait_for_no_output(worker: Any) -> None:
    # Each call waits 50 ms in case that the function still prints something. Its output is in our
    # file anyway; a line that comes late is counted to the next invocation.
    stock = worker._drain_stderr_bounded

    @functools.wraps(stock)
    def drain(self: Any, first_line_wait: float = 0.0) -> Any:
        return stock(self, first_line_wait)

    worker._drain_stderr_bounded = drain


def _keep_function_output(worker: Any, path: Path) -> None:
    stock = worker._pump_output

    @functools.wraps(stock)
    def pump(self: Any, stream: Any, lines: Any) -> None:
        with path.open("ab", buffering=0) as log:
            stock(self, _Copied(stream, log.write), lines)

    worker._pump_output = pump


class _Copied:
    """A stream of lines that are also written elsewhere as they are read."""

    def __init__(self, stream: Any, write: Callable[[bytes], object]) -> None:
        self._stream = stream
        self._write = write

    def readline(self) -> bytes:
        line: bytes = self._stream.readline()
        self._write(line)
        return line

    def close(self) -> None:
        self._stream.close()


def _serialise_item_operations(dynamodb: Any) -> None:
    # Requests run one by one on the event loop, but Step Functions' direct tasks and the TTL reaper
    # come from other threads and lost updates. The module's own lock, made reentrant, covers all.
    dynamodb._lock = threading.RLock()
    for name in _ITEM_OPERATIONS:
        setattr(dynamodb, name, _locked(getattr(dynamodb, name), dynamodb._lock))


def _locked(operation: Callable[..., Any], lock: threading.RLock) -> Callable[..., Any]:
    @functools.wraps(operation)
    def run(*arguments: Any, **options: Any) -> Any:
        with lock:
            return operation(*arguments, **options)

    return run
