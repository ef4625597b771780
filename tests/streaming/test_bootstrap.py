"""The runtime of functions that stream, in a process of its own, over a Runtime API of ours."""

from __future__ import annotations

import ast
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crewline import locations
from tests.streaming.runtime_apis import FUNCTION, Post, Sandbox, sandbox, settled, write


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox for many invocations, as on Lambda."""
    with sandbox(tmp_path_factory.mktemp("sandbox") / "log") as one:
        yield one


def body(post: Post) -> bytes:
    return b"".join(post.rest())


# ------------------------------------------------------------------ streams


def test_each_chunk_is_received_before_the_next_is_produced(running: Sandbox, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    gates = [tmp_path / name for name in ("one", "two", "three")]
    post = running.api.invoke({"do": "steps", "go": [str(gate) for gate in gates], "journal": str(journal)})

    assert post.headers["Lambda-Runtime-Function-Response-Mode"] == "streaming"
    assert post.headers["Transfer-Encoding"] == "chunked"
    assert post.headers["Content-Type"] == "application/vnd.awslambda.http-integration-response"
    assert post.prelude() == {
        "statusCode": 201,
        "headers": {"content-type": "text/event-stream"},
        "cookies": [],
    }
    for number, gate in enumerate(gates, 1):
        produced = journal.read_text() if journal.exists() else ""
        assert produced.count("\n") == number - 1, "what was not let go has not been produced"
        write(gate)
        assert post.chunk() == f"chunk {number}".encode()
    assert post.chunk() is None
    assert post.trailers == {}


def test_a_plain_generator_streams_too(running: Sandbox, tmp_path: Path) -> None:
    gates = [tmp_path / name for name in ("one", "two")]
    post = running.api.invoke({"do": "plain_steps", "go": [str(gate) for gate in gates]})

    assert post.prelude() == {"statusCode": 202, "headers": {"a": "b"}, "cookies": ["x=1"]}
    for gate in gates:
        write(gate)
        assert post.chunk() == b"as text"
    assert post.chunk() is None


def test_a_whole_answer_is_one_chunk_with_its_headers_and_cookies(running: Sandbox) -> None:
    headers = {"Content-Type": "image/png", "Set-Cookie": ["a=1; Path=/", "b=2"], "vary": ["x", "y"], "n": 5}
    post = running.api.invoke({"do": "whole", "hex": "00ff0000", "headers": headers})

    assert post.prelude() == {
        "statusCode": 200,
        "headers": {"Content-Type": "image/png", "vary": "x, y", "n": "5"},
        "cookies": ["a=1; Path=/", "b=2"],
    }
    assert post.rest() == [b"\x00\xff\x00\x00"]


def test_a_reply_whose_body_comes_later_streams_and_empty_chunks_do_not_end_it(running: Sandbox) -> None:
    post = running.api.invoke({"do": "in_place"})

    assert post.prelude()["statusCode"] == 200
    assert post.rest() == [b"a", b"b"]


@pytest.mark.parametrize(("status", "headers"), [(202, {"content-length": "0"}), (204, {}), (304, {})])
def test_an_empty_answer_says_that_nothing_follows(
    running: Sandbox, status: int, headers: dict[str, str]
) -> None:
    post = running.api.invoke({"do": "whole", "hex": "", "status": status})

    assert post.prelude() == {"statusCode": status, "headers": headers, "cookies": []}
    assert post.rest() == []


def test_a_large_answer_passes_whole(running: Sandbox) -> None:
    post = running.api.invoke({"do": "whole", "size": 20_000_000})

    post.prelude()
    assert body(post) == b"x" * 20_000_000


def test_a_slow_reader_holds_up_the_producer(running: Sandbox, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    post = running.api.invoke({"do": "flood", "chunks": 96, "size": 2**20, "journal": str(journal)})

    post.prelude()
    assert post.chunk() == bytes(2**20)
    # The kernel holds some megabytes for the connection, the function one chunk.
    assert settled(journal).count("\n") < 16
    *chunks, growth = post.rest()
    assert chunks == [bytes([number]) * 2**20 for number in range(1, 96)]
    assert int(growth) < 32 * 1024, "kilobytes of the process, while 96 MB passed"


# ----------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        ({"do": "raises"}, "PermissionError", "not today"),
        ({"do": "nowhere"}, "KeyError", "'nowhere'"),
        ({"do": "empty"}, "TypeError", "yielded nothing"),
        ({"do": "no_status"}, "TypeError", "must have an HTTP status"),
        ({"do": "odd", "what": "number"}, "TypeError", "The handler gave int"),
        ({"do": "odd", "what": "dict"}, "TypeError", "The handler gave dict"),
        ({"do": "odd", "what": "nothing"}, "TypeError", "The handler gave NoneType"),
        (b"{", "JSONDecodeError", "Expecting property name"),
        (b"", "JSONDecodeError", "Expecting value"),
    ],
)
def test_a_failure_before_the_first_byte_is_an_error_and_the_next_event_is_answered(
    running: Sandbox, event: Any, kind: str, message: str
) -> None:
    post = running.api.invoke(event)

    assert post.path.endswith("/error")
    assert post.headers["Lambda-Runtime-Function-Error-Type"] == kind
    error = post.json()
    assert (error["errorType"], error["requestId"]) == (kind, post.path.split("/")[-2])
    assert message in error["errorMessage"]
    assert running.api.invoke({"do": "whole", "hex": "61"}).rest()[1] == b"a"


def test_a_generator_that_fails_before_its_prelude_is_closed(running: Sandbox, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    post = running.api.invoke({"do": "fails", "after": 0, "journal": str(journal)})

    assert post.json()["errorMessage"] == "before the prelude"
    assert journal.read_text() == "closed\n"


@pytest.mark.parametrize(
    ("event", "sent", "kind", "message"),
    [
        ({"after": 1}, [], "LookupError", "before the first chunk"),
        ({"after": 2}, [b"half of it"], "LookupError", "in the middle: é"),
        ({"after": 2, "kind": "cancelled"}, [b"half of it"], "CancelledError", "by whom?"),
    ],
)
def test_a_failure_in_the_middle_is_told_by_trailers_and_the_next_event_is_answered(
    running: Sandbox, tmp_path: Path, event: Any, sent: list[bytes], kind: str, message: str
) -> None:
    journal = tmp_path / "journal"
    post = running.api.invoke({"do": "fails", "journal": str(journal), **event})

    assert post.headers["Trailer"] == (
        "Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body"
    )
    post.prelude()
    assert post.rest() == sent
    failure = post.failure()
    assert (failure["errorType"], failure["errorMessage"]) == (kind, message)
    assert failure["stackTrace"]
    assert journal.read_text() == "closed\n"
    assert message.encode("unicode_escape").replace(b"\\xe9", b"\\u00e9") in running.log.read_bytes()
    assert running.api.invoke({"do": "whole", "hex": "61"}).rest()[1] == b"a"


def test_a_connection_that_breaks_ends_the_sandbox_and_closes_the_generator(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with sandbox(tmp_path / "log") as one:
        post = one.api.invoke({"do": "endless", "journal": str(journal)})
        post.prelude()
        post.chunk()
        post.reset()

        assert one.exit_status() == 1
        assert journal.read_text() == "closed\n"
        assert "RuntimeApiBroken" in one.log.read_text()


@pytest.mark.parametrize("status", [403, 500])
def test_an_event_that_is_refused_ends_the_sandbox(tmp_path: Path, status: int) -> None:
    with sandbox(tmp_path / "log") as one:
        one.api.events.put(status)

        assert one.exit_status() == 1
        assert f"was answered {status}" in one.log.read_text()


# ----------------------------------------------------- initialisation, snapshots


@pytest.mark.parametrize(
    ("code", "handler", "kind", "message"),
    [
        ("import nowhere_to_be_found", "main.answer", "Runtime.ImportModuleError", "nowhere_to_be_found"),
        ("def", "main.answer", "Runtime.UserCodeSyntaxError", "main"),
        ("", "main.answer", "Runtime.HandlerNotFound", "'answer' missing"),
        ("", "main", "Runtime.MalformedHandlerName", "lacks a dot"),
        ("raise OSError('no manifest')", "main.answer", "OSError", "no manifest"),
    ],
)
def test_a_function_that_cannot_start_says_why_and_ends(
    tmp_path: Path, code: str, handler: str, kind: str, message: str
) -> None:
    (tmp_path / "main.py").write_text(code)

    with sandbox(tmp_path / "log", function=tmp_path, handler=handler) as one:
        post = one.api.post()
        assert post.path.endswith("/runtime/init/error")
        assert post.headers["Lambda-Runtime-Function-Error-Type"] == kind
        assert message in post.json()["errorMessage"]
        assert one.exit_status() == 1
        assert one.api.asked == ["POST /init/error"]


SNAPSHOT = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}


def test_a_snapshot_is_taken_once_the_function_is_ready_and_hooks_run_after_the_restore(
    tmp_path: Path,
) -> None:
    with sandbox(tmp_path / "log", SNAPSHOT) as one:
        request_id = one.api.send({"do": "describe"})
        while not one.api.asked:
            time.sleep(0.005)
        assert one.api.asked == ["GET /restore/next"]
        assert "restored" not in one.log.read_text()
        one.api.restored.set()
        drawn = ast.literal_eval(one.api.post().rest()[1].decode())["random"]

        assert one.api.asked == [
            "GET /restore/next",
            "GET /invocation/next",
            f"POST /invocation/{request_id}/response",
        ] + ["GET /invocation/next"] * (len(one.api.asked) - 3)
        assert "restored" in one.log.read_text()
        assert drawn != random.Random(1).random(), "the module's own seed is the snapshot's"


def test_a_restore_that_fails_is_reported(tmp_path: Path) -> None:
    with sandbox(tmp_path / "log", {"HOOK": "fails", **SNAPSHOT}) as one:
        one.api.restored.set()
        post = one.api.post()

        assert post.path.endswith("/runtime/restore/error")
        assert post.headers["Lambda-Runtime-Function-Error-Type"] == "Runtime.AfterRestoreError"
        assert post.json()["errorMessage"] == "no clock"
        assert one.exit_status() == 65


REGISTERED = """
from snapshot_restore_py import register_after_restore, register_before_snapshot
register_before_snapshot(print, "before 1", flush=True)
register_before_snapshot({before}, "before 2")
register_after_restore(print, "after", flush=True)
def answer(event, context): return None
"""


def test_hooks_of_the_managed_runtime_are_run(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(REGISTERED.format(before="print"))
    with sandbox(tmp_path / "log", SNAPSHOT, function=tmp_path, handler="main.answer") as one:
        one.api.restored.set()
        one.api.invoke({}).json()

        assert one.log.read_text().split("\n")[:3] == ["before 2", "before 1", "after"]


def test_a_hook_that_fails_before_the_snapshot_is_an_init_error(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(REGISTERED.format(before="int"))
    with sandbox(tmp_path / "log", SNAPSHOT, function=tmp_path, handler="main.answer") as one:
        post = one.api.post()

        assert post.path.endswith("/runtime/init/error")
        assert post.headers["Lambda-Runtime-Function-Error-Type"] == "Runtime.BeforeSnapshotError"
        post.json()
        assert one.exit_status() == 64


# ------------------------------------------------------------------ the loop


def test_invocations_share_one_event_loop_and_no_context(running: Sandbox) -> None:
    answers = [running.api.invoke({"do": "remembers", "ask": text}).rest()[1] for text in ("a", "b")]

    assert answers == [b"A nothing", b"B nothing"]


def test_a_handler_may_run_a_loop_of_its_own(running: Sandbox) -> None:
    assert running.api.invoke({"do": "own_loop"}).rest()[1] == b"of a loop of its own"


@pytest.mark.parametrize("event", [None, [1, 2], "ping", 5, {"do": "whole", "hex": "", "unknown": {"a": []}}])
def test_events_may_be_anything(running: Sandbox, event: Any) -> None:
    post = running.api.invoke(event, **{"Lambda-Runtime-Brand-New": "yes", "X-Odd": ""})

    assert post.path.endswith("/response")
    post.prelude()
    assert body(post) in {b"", repr(event).encode()}


def described(post: Post) -> dict[str, Any]:
    described: dict[str, Any] = ast.literal_eval(post.rest()[1].decode())
    return described


def test_a_handler_knows_its_invocation(running: Sandbox) -> None:
    arn = "arn:aws:lambda:eu-west-1:1:function:tested"
    known = described(
        running.api.invoke(
            {"do": "describe"},
            **{
                "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 600_000),
                "lambda-runtime-invoked-function-arn": arn,
                "Lambda-Runtime-Trace-Id": "Root=1-a",
                "Lambda-Runtime-Cognito-Identity": '{"cognitoIdentityId": "c", "more": 1}',
                "Lambda-Runtime-Client-Context": '{"custom": {"a": "b"}, "client": {"odd": 1}}',
            },
        )
    )
    assert (known["arn"], known["name"], known["trace"]) == (arn, "tested", "Root=1-a")
    assert (known["identity"], known["client"]) == ("c", {"a": "b"})
    assert 0 < known["left"] <= 600_000


def test_what_a_header_lacks_is_not_there(running: Sandbox) -> None:
    headers = {"Lambda-Runtime-Deadline-Ms": "soon", "Lambda-Runtime-Client-Context": "{"}
    known = described(running.api.invoke({"do": "describe"}, **headers))

    assert (known["arn"], known["trace"], known["client"], known["identity"]) == (None,) * 4
    assert known["left"] > 0
    over = {"Lambda-Runtime-Deadline-Ms": "1000"}
    assert described(running.api.invoke({"do": "describe"}, **over))["left"] == 0


def test_modules_are_found_where_the_managed_client_finds_them(running: Sandbox) -> None:
    known = described(running.api.invoke({"do": "describe"}))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"

    assert known["path"] == [
        str(FUNCTION),
        f"/opt/python/lib/{version}/site-packages",
        "/opt/python",
        str(running.log.parent / "runtime"),
    ]


def test_it_needs_the_standard_library_alone() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(locations.STREAMING)!r}); import streaming_bootstrap.loop\n"
        "print({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    done = subprocess.run([sys.executable, "-ISBc", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) <= {"streaming_bootstrap", "__main__"}
