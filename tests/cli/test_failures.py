"""What goes wrong is one line that says what to do, and an exit code."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from crewline import errors
from crewline.cli.failures import CliError, ExitCode, exit_code_of
from tests.cli.commands import Command
from tests.cli.servers import SSE, Answer, ScriptedService


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 2), (401, 5), (403, 5), (404, 3), (409, 4), (413, 2), (422, 2), (429, 6), (500, 6), (503, 6)],
)
def test_every_status_has_its_exit_code(
    command: Command, scripted_service: ScriptedService, status: int, code: int
) -> None:
    scripted_service.answer(
        "POST /assistants/search", Answer(status, {"detail": "No.\nReally", "code": "no"})
    )
    said = command.refused(code, "assistants", "list", "--url", scripted_service.url)
    assert said == "No. Really" or status == 401


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": "In words of v1.", "code": "conflict"}}, "In words of v1."),
        ({"detail": "In words of LangGraph."}, "In words of LangGraph."),
        ({"message": "In words of API Gateway."}, "In words of API Gateway."),
        (b"<html>", "answered with status 409"),
        ([1], "answered with status 409"),
    ],
)
def test_a_refusal_is_shown_whoever_spelled_it(
    command: Command, scripted_service: ScriptedService, body: object, said: str
) -> None:
    scripted_service.answer("POST /assistants/search", Answer(409, body))
    assert said in command.refused(4, "assistants", "list", "--url", scripted_service.url)


def test_nothing_that_a_service_says_moves_the_cursor(
    command: Command, scripted_service: ScriptedService
) -> None:
    scripted_service.answer("POST /assistants/search", Answer(409, {"detail": "a\x1b[2Jb\x9b1m"}))
    said = command.refused(4, "assistants", "list", "--url", scripted_service.url)
    assert said == "a�[2Jb�1m"


def test_a_service_that_is_down_is_named_with_the_command_that_starts_one(command: Command) -> None:
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        said = command.refused(6, "assistants", "list", "--url", url)
    assert url in said
    assert "crewline dev" in said
    assert "--url" in said


def test_a_service_elsewhere_that_is_down_is_not_started_with_dev(command: Command) -> None:
    said = command.refused(6, "assistants", "list", "--url", "http://nowhere.invalid")
    assert "http://nowhere.invalid" in said
    assert "crewline dev" not in said


def test_a_service_that_wants_a_key_says_where_to_put_it(
    command: Command, scripted_service: ScriptedService
) -> None:
    scripted_service.answer("POST /assistants/search", Answer(401, {"detail": "This needs an API key."}))
    said = command.refused(5, "assistants", "list", "--url", scripted_service.url)
    assert "CREWLINE_API_KEY" in said
    assert f"crewline profiles set NAME --url {scripted_service.url} --key" in said


def test_a_wrong_key_is_told_by_where_it_comes_from(
    command: Command, scripted_service: ScriptedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted_service.answer("POST /assistants/search", Answer(401, {"detail": "This key is not good."}))
    command("profiles", "set", "mine", "--url", scripted_service.url, "--key", stdin="crewline_wrong\n")
    assert "the API key of profile mine" in command.refused(5, "assistants", "list")
    monkeypatch.setenv("CREWLINE_API_KEY", "crewline_secret")
    said = command.refused(5, "assistants", "list")
    assert "the API key of CREWLINE_API_KEY" in said
    assert "crewline_secret" not in said


@pytest.mark.parametrize("headers", [{}, SSE])
def test_what_is_no_crewline_is_said_to_be_none(
    command: Command, scripted_service: ScriptedService, headers: dict[str, str]
) -> None:
    scripted_service.answer("POST /assistants/search", Answer(200, b"<html>", headers))
    said = command.refused(6, "assistants", "list", "--url", scripted_service.url)
    assert "no Crewline service" in said


@pytest.mark.parametrize("body", [{"ok": True}, [{"a": 1}], ["a"], None, 7])
@pytest.mark.parametrize(
    "line",
    [
        "invoke -i {}",
        "runs list",
        "runs get run_0198c0de000070008000000000000001",
        "thread get thr_0198c0de000070008000000000000001",
        "thread history thr_0198c0de000070008000000000000001",
        "assistants list",
    ],
)
def test_json_of_something_else_is_no_crewline(
    command: Command, scripted_service: ScriptedService, line: str, body: object
) -> None:
    scripted_service.answer_anything(Answer(200, body))
    assert "no Crewline service" in command.refused(6, *line.split(), "--url", scripted_service.url)


@pytest.mark.parametrize("body", [b"<html>", {"detail": "Not Found"}, {"message": "Not Found"}])
def test_a_service_without_v1_is_not_taken_for_one_without_the_run(
    command: Command, scripted_service: ScriptedService, body: object
) -> None:
    scripted_service.answer_anything(Answer(404, body))
    said = command.refused(6, "runs", "list", "--url", f"{scripted_service.url}/stage")
    assert "no Crewline service (it has no /stage/v1/runs)" in said


@pytest.mark.parametrize("line", ["init {}/file/crew --yes", "env set A=b --project {}"])
def test_a_file_that_cannot_be_written_is_named(command: Command, tmp_path: Path, line: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "graph.py").touch()
    (tmp_path / "langgraph.json").write_text('{"graphs": {"a": "./graph.py:a"}, "env": {}}')
    (tmp_path / ".env").mkdir()
    assert command.refused(2, *line.format(tmp_path).split()).startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("line", "closed", "code", "said"),
    [
        ("init", "<&-", 0, ""),
        ("profiles set a --url http://127.0.0.1:9 --key", "<&-", 2, "standard input has nothing"),
        ("profiles list --json", ">&-", 0, ""),
        ("profiles use absent", "2>&-", 3, ""),
        ("profiles list --json", ">/dev/full", 2, "Error: Standard output: No space left on device."),
        ("profiles list --json", "| true", 0, ""),
    ],
)
def test_a_stream_that_is_closed_or_full_breaks_nothing(
    tmp_path: Path, line: str, closed: str, code: int, said: str
) -> None:
    shell = f'exec "{sys.executable}" -m crewline.cli {line} {closed}'
    done = subprocess.run(["/bin/sh", "-c", shell], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, said in done.stderr) == (code, True), done
    assert "Traceback" not in done.stderr


def test_a_redirect_is_not_followed_and_says_where_to(
    command: Command, scripted_service: ScriptedService
) -> None:
    scripted_service.answer(
        "POST /assistants/search", Answer(308, b"", {"location": "https://example.com/elsewhere"})
    )
    said = command.refused(2, "assistants", "list", "--url", scripted_service.url)
    assert "https://example.com/elsewhere" in said
    assert len(scripted_service.asked) == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{'a': 1}", "expecting property name enclosed in double quotes at line 1, column 2"),
        ('{"a": }', "at line 1, column 7"),
        ("", "at line 1, column 1"),
        ('{"a": NaN}', "NaN is not a value of JSON"),
        ("[" * 100_000, "--config is not valid JSON"),
        ("[1]", "must be a JSON object"),
        ("@/absent.json", "/absent.json cannot be read"),
    ],
)
def test_json_that_is_none_is_told_with_its_place(command: Command, text: str, said: str) -> None:
    assert said in command.refused(2, "assistants", "create", "--crew", "a", "--config", text)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("thread create", "Missing argument 'DEPLOYMENT'; see `crewline thread create --help`."),
        ("invoke --topic tea", "No such option: --topic; see `crewline invoke --help`."),
        (
            "runs list --limit 1000",
            "Invalid value for '--limit': Input should be less than or equal to 100; see `crewline runs",
        ),
        ("runs list --status done", "Invalid value for '--status': 'done' is not one of"),
        ("thread get a b", "Got unexpected extra argument"),
        ("thread forget", "No such command 'forget'"),
        ("inovke", "No such command 'inovke'"),
    ],
)
def test_a_line_that_cannot_be_read_is_one_line_that_leads_to_the_help(
    command: Command, line: str, said: str
) -> None:
    assert command.refused(2, *line.split()).startswith(said)


def test_without_a_command_there_is_help(command: Command) -> None:
    for line in ([], ["thread"]):
        done = command(*line)
        assert done.code == 2
        assert "Usage: crewline" in done.out + done.err
        assert "Error" not in done.err


def test_an_id_of_something_else_is_refused_before_anything_is_asked(
    command: Command, scripted_service: ScriptedService
) -> None:
    thread = "thr_0198c0de000070008000000000000001"
    said = command.refused(2, "assistants", "get", thread, "--url", scripted_service.url)
    assert said == f"'{thread}' is a thread's id; a deployment's id begins with dep_."
    assert scripted_service.asked == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.NotFound("x"), ExitCode.NOT_FOUND),
        (errors.ThreadBusy("x"), ExitCode.CONFLICT),
        (errors.Forbidden("x"), ExitCode.AUTHENTICATION),
        (errors.LimitExceeded("x"), ExitCode.UNAVAILABLE),
        (errors.BadManifest("x"), ExitCode.USAGE),
        (CliError("x", ExitCode.RUN_FAILED), ExitCode.RUN_FAILED),
    ],
)
def test_every_error_of_ours_has_its_exit_code(error: errors.CrewlineError, code: ExitCode) -> None:
    assert exit_code_of(error) == code
