"""A project's own authentication: what its functions are given, and what becomes of what they say."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph_sdk import Auth

from crewline.errors import BadManifest, CrewFailedToLoad, Forbidden, Unauthenticated, Unavailable
from crewline.http import authorities
from crewline.http.authorities import Authority, BadAnswer, BadUser, Credentials, load_authority
from crewline.http.errors import Denied
from crewline.models.manifests import read_manifest
from crewline.models.users import EVERYTHING, Filters, User

ANN = User({"identity": "ann", "permissions": ["read"]})
SENT = Credentials(
    method="POST",
    path="/threads/t/runs",
    headers={"authorization": "Bearer x", "x-team": "réd"},
    path_params={"thread_id": "t"},
    query_params={"stream": "true"},
    body={"input": 1},
)


def authority(authenticate: Callable[..., Any], *decorate: Callable[[Auth], Any]) -> Authority:
    auth = Auth()
    auth.authenticate(authenticate)
    for one in decorate:
        one(auth)
    return Authority(auth, where="auth.path (auth.py)")


def handling(answer: Any) -> Callable[..., Any]:
    async def handler(ctx: Any, value: Any) -> Any:
        return answer

    return handler


def asking(*decorate: Callable[[Auth], Any], value: Any = None) -> Filters:
    return authority(lambda: "ann", *decorate).ask(ANN, "threads", "read", value or {})


# ------------------------------------------------------------------ who it is


def test_an_authenticate_function_is_given_what_it_asks_for_by_name() -> None:
    got: dict[str, Any] = {}

    async def authenticate(
        *, authorization: str, headers: Any, method: str, path: str, path_params: Any, query_params: Any,
        body: Any, own: int = 1, **rest: Any,
    ) -> str:  # fmt: skip
        got.update(locals())
        return "ann"

    assert authority(authenticate).authenticate(SENT).identity == "ann"
    del got["got"]
    assert got == {
        "authorization": "Bearer x",
        "headers": {b"authorization": b"Bearer x", b"x-team": "réd".encode()},
        "method": "POST",
        "path": "/threads/t/runs",
        "path_params": {"thread_id": "t"},
        "query_params": {"stream": "true"},
        "body": {"input": 1},
        "own": 1,
        "rest": {},
    }


def test_a_request_is_that_of_starlette() -> None:
    async def authenticate(request: Any) -> str:
        assert request.headers["Authorization"] == "Bearer x"
        assert (request.method, request.url.path) == ("POST", "/threads/t/runs")
        assert (request.query_params["stream"], request.path_params["thread_id"]) == ("true", "t")
        assert await request.json() == {"input": 1}
        return "ann"

    made = authority(authenticate)
    assert made.wants_body
    assert made.authenticate(SENT).identity == "ann"


class _Person:
    identity = "ann"
    permissions = ("read",)
    display_name = "Ann"

    def to_dict(self) -> dict[str, Any]:
        return {"team": "red"}


@pytest.mark.parametrize(
    ("said", "user"),
    [
        ("ann", {"identity": "ann"}),
        ({"identity": "ann", "teams": ("red",)}, {"identity": "ann", "teams": ["red"]}),
        (ANN, {"identity": "ann", "permissions": ["read"]}),
        (
            _Person(),
            {"team": "red", "identity": "ann", "permissions": ["read"], "display_name": "Ann"},
        ),
    ],
)
def test_a_user_is_an_id_a_mapping_or_an_object(said: Any, user: dict[str, Any]) -> None:
    assert dict(authority(lambda: said).authenticate(SENT)) == user


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        {},
        {"identity": 7},
        {"identity": "ann", "permissions": "all"},
        {"identity": "ann", "socket": threading.Lock()},
        {"identity": "ann", "photo": "x" * authorities.LARGEST_USER},
    ],
)
def test_what_is_no_user_is_nobodys_fault_but_the_projects(said: Any) -> None:
    with pytest.raises(BadUser):
        authority(lambda: said).authenticate(SENT)


@pytest.mark.parametrize("known", [False, None, 0, ""])
def test_a_user_whom_authentication_does_not_know_gets_no_further(known: Any) -> None:
    with pytest.raises(Unauthenticated):
        authority(lambda: {"identity": "ann", "is_authenticated": known}).authenticate(SENT)


def raising(error: BaseException) -> Callable[..., Any]:
    async def authenticate() -> str:
        raise error

    return authenticate


def test_a_function_that_exits_takes_nobody_elses_request_along() -> None:
    with pytest.raises(RuntimeError, match=r"sys\.exit"):
        authority(raising(SystemExit(1))).authenticate(SENT)
    assert asking(lambda auth: auth.on(handling({"owner": "ann"}))) == Filters({"owner": "ann"})


def test_the_projects_exception_is_its_answer() -> None:
    refused = Auth.exceptions.HTTPException(status_code=402, detail="Pay first", headers={"X-Price": "7"})
    with pytest.raises(Denied, match="Pay first") as caught:
        authority(raising(refused)).authenticate(SENT)
    assert (caught.value.status, dict(caught.value.headers)) == (402, {"X-Price": "7"})


def test_an_assertion_that_fails_means_no() -> None:
    with pytest.raises(Unauthenticated) as caught:
        authority(raising(AssertionError("token s3cret"))).authenticate(SENT)
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    "error", [ValueError("broken"), TimeoutError(), Auth.exceptions.HTTPException(status_code=200)]
)
def test_any_other_exception_is_an_error_of_the_project(error: Exception) -> None:
    with pytest.raises(type(error)):
        authority(raising(error)).authenticate(SENT)


def test_who_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorities, "LONGEST_S", 0.01)

    async def authenticate() -> str:
        await asyncio.Event().wait()
        return "ann"

    with pytest.raises(Unavailable, match="has not answered"):
        authority(authenticate).authenticate(SENT)


def test_all_of_a_projects_functions_run_on_one_loop() -> None:
    loops = []

    async def authenticate() -> str:
        loops.append(asyncio.get_running_loop())
        return "ann"

    for _ in range(2):
        authority(authenticate).authenticate(SENT)
    assert loops[0] is loops[1]


# ------------------------------------------------------------------ what they may


def test_the_handler_that_says_most_exactly_what_it_is_about_is_asked() -> None:
    decorate = [
        lambda auth: auth.on(handling({"by": "all"})),
        lambda auth: auth.on(actions="read")(handling({"by": "action"})),
        lambda auth: auth.on.threads(handling({"by": "resource"})),
        lambda auth: auth.on.threads.read(handling({"by": "both"})),
    ]
    said = [asking(*decorate[:count]).wanted["by"] for count in range(1, 5)]
    assert said == ["all", "action", "resource", "both"]
    assert asking() == EVERYTHING


@pytest.mark.parametrize("said", [None, True, {}])
def test_yes_lets_everything_be_seen(said: Any) -> None:
    assert asking(lambda auth: auth.on(handling(said))) == EVERYTHING


def test_no_is_forbidden() -> None:
    with pytest.raises(Forbidden, match="You may not do read of threads"):
        asking(lambda auth: auth.on(handling(False)))


@pytest.mark.parametrize(
    "said", [0, "", "owner", ["owner"], {"owner": {"$ne": "ann"}}, {"owner": {"a": 1}}, 1]
)
def test_what_is_neither_yes_nor_no_nor_a_filter_lets_nobody_pass(said: Any) -> None:
    with pytest.raises(BadAnswer):
        asking(lambda auth: auth.on(handling(said)))


def test_a_handler_is_told_who_asks_what_and_may_change_what_is_asked_for() -> None:
    told: list[Any] = []

    async def handler(ctx: Any, value: Any) -> None:
        told.append((ctx.user.identity, ctx.permissions, ctx.resource, ctx.action))
        value["metadata"] = {"owner": ctx.user.identity}

    value: dict[str, Any] = {}
    authority(lambda: "ann", lambda auth: auth.on(handler)).ask(ANN, "threads", "create", value)
    assert told == [("ann", ["read"], "threads", "create")]
    assert value == {"metadata": {"owner": "ann"}}


def test_a_handler_says_no_in_its_own_way() -> None:
    async def handler(ctx: Any, value: Any) -> None:
        raise Auth.exceptions.HTTPException(status_code=404, detail="No such thing")

    with pytest.raises(Denied, match="No such thing"):
        asking(lambda auth: auth.on(handler))


def test_an_assertion_of_a_handler_that_fails_is_forbidden() -> None:
    async def handler(ctx: Any, value: Any) -> None:
        raise AssertionError("s3cret")

    with pytest.raises(Forbidden) as caught:
        asking(lambda auth: auth.on(handler))
    assert "s3cret" not in caught.value.message


# ------------------------------------------------------------------ how it is loaded


def _load(folder: Path, code: str) -> Authority:
    name = f"auth_{uuid4().hex}"  # a module is imported once a process
    (folder / f"{name}.py").write_text(code)
    (folder / "graphs.py").write_text("graph = None")
    said = {"graphs": {"g": "./graphs.py:graph"}, "auth": {"path": f"./{name}.py:auth"}}
    (folder / "langgraph.json").write_text(json.dumps(said))
    manifest = read_manifest(folder / "langgraph.json")
    assert manifest.auth is not None
    return load_authority(manifest.auth, manifest)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("auth = 1", "is a int, not a langgraph_sdk.Auth"),
        ("other = 1", "has no 'auth'"),
        ("from langgraph_sdk import Auth\nauth = Auth()", "has no function with @auth.authenticate"),
        (
            "from langgraph_sdk import Auth\nauth = Auth()\n@auth.authenticate\ndef who(token): ...",
            "authenticate asks for token; there are authorization, body, headers",
        ),
    ],
)
def test_what_cannot_authenticate_is_refused_when_it_is_loaded(
    tmp_path: Path, code: str, sentence: str
) -> None:
    with pytest.raises(BadManifest, match=sentence) as caught:
        _load(tmp_path, code)
    assert "auth.path" in caught.value.message
    assert ".py" in caught.value.message


def test_a_file_that_raises_says_so_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CrewFailedToLoad, match=r"auth.path .* fails to import: ZeroDivisionError"):
        _load(tmp_path, "1 / 0")
