"""An app: any number of requests at once, every error a reply, bodies that come when they are ready."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Annotated, Any

import orjson
import pytest
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body, Query

from crewline.errors import NotFound
from crewline.http import waits
from crewline.http.apps import App, empty_response, json_response
from crewline.http.authentication import Authentication
from crewline.http.replies import Reply
from crewline.http.resolvers import Later, Router
from crewline.http.resources import PROXY, RESOURCES, resource_for
from crewline.http.waits import OutOfTime, keep_alive, last_moment
from crewline.local.proxy_events import lambda_context
from crewline.models.cors import CorsPolicy
from crewline.models.threads import Wire

LOGGER = Logger(service="waits", level="CRITICAL")


class Named(Wire):
    name: str


def event(method: str, path: str, body: str | None = None, **query: str) -> dict[str, Any]:
    return {
        "httpMethod": method,
        "path": path,
        "resource": path,
        "headers": {},
        "multiValueHeaders": {},
        "queryStringParameters": query or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        "pathParameters": None,
        "requestContext": {"stage": "api", "requestId": "r"},
        "body": body,
        "isBase64Encoded": False,
    }


def make_app(*later: Later, **options: Any) -> App:
    router = Router()
    barrier = threading.Barrier(8, timeout=10)

    @router.get("/things/<name>")
    def get(name: str, loud: Annotated[bool, Query()] = False) -> Response[Any]:
        return json_response({"name": name.upper() if loud else name, "nan": float("nan"), 1: 2})

    @router.get("/lists")
    def lists(names: Annotated[list[str] | None, Query()] = None) -> Response[Any]:
        return json_response(names)

    @router.post("/things/search")
    def search() -> Response[Any]:
        return json_response([])

    @router.post("/meet/<number>")
    def meet(number: str, body: Annotated[Named, Body()]) -> Response[Any]:
        barrier.wait()  # eight requests are in their routes at once
        return json_response({"number": number, "name": body.name, "path": router.current_event.path})

    @router.delete("/things/<name>")
    def delete(name: str) -> Response[Any]:
        if name == "none":
            raise NotFound(f"{name} not found.")
        if name == "bug":
            raise RuntimeError("hunter2")
        return empty_response()

    return App(
        router,
        *later,
        **{
            "authentication": Authentication(None, "acme"),
            "cors": CorsPolicy(),
            "max_body_bytes": 100,
            "logger": Logger(service="apps", level="CRITICAL"),
            **options,
        },
    )


@pytest.fixture(scope="module")
def app() -> App:
    return make_app()


def read(reply: Reply) -> Any:
    assert isinstance(reply.body, bytes)
    return orjson.loads(reply.body)


def test_a_route_answers_json_in_which_no_number_is_nan(app: App) -> None:
    reply = app.answer(event("GET", "/things/a", loud="true"), None)
    assert (reply.status, read(reply)) == (200, {"name": "A", "nan": None, "1": 2})
    assert reply.headers["content-type"] == "application/json"


def test_an_empty_answer_has_no_body(app: App) -> None:
    reply = app.answer(event("DELETE", "/things/a"), None)
    assert (reply.status, reply.body) == (204, b"")


@pytest.mark.parametrize(
    ("one", "status"),
    [
        (event("DELETE", "/things/none"), 404),
        (event("DELETE", "/things/bug"), 500),
        (event("GET", "/nothing"), 404),
        (event("GET", "/things/a", loud="perhaps"), 422),
        (event("POST", "/meet/1", "{"), 422),
        (event("POST", "/meet/1", '{"name": 5}'), 422),
        (event("POST", "/meet/1", "x" * 101), 413),
        (event("PATCH", "/things/a"), 405),
        ({"httpMethod": "GET"}, 500),
    ],
)
def test_whatever_goes_wrong_is_a_reply(app: App, one: dict[str, Any], status: int) -> None:
    reply = app.answer(one, None)
    body = read(reply)
    assert reply.status == status
    assert set(body) == {"detail", "code"}
    assert "hunter2" not in body["detail"]


def test_a_wrong_method_is_told_the_right_ones(app: App) -> None:
    reply = app.answer(event("PATCH", "/things/a"), None)
    assert reply.headers["allow"] == "DELETE, GET"
    assert read(reply)["detail"] == "Method PATCH is not allowed here; use DELETE, GET."


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_path_of_its_own_is_never_taken_for_a_parameter(app: App, method: str) -> None:
    reply = app.answer(event(method, "/things/search"), None)
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    assert app.answer(event("POST", "/things/search"), None).status == 200


@pytest.mark.parametrize(
    ("sent", "names"),
    [
        (["a", "b"], ["a", "b"]),
        (['["a","b"]'], ["a", "b"]),
        (['["a"]', "b"], ["a", "b"]),
        (["[]"], None),
        (["[1]"], ["[1]"]),
        (["[a"], ["[a"]),
    ],
)
def test_a_list_in_a_query_comes_one_by_one_or_as_json(app: App, sent: list[str], names: Any) -> None:
    asked = {**event("GET", "/lists"), "multiValueQueryStringParameters": {"names": sent}}
    asked["queryStringParameters"] = {"names": sent[-1]}
    assert read(app.answer(asked, None)) == names


def test_a_page_may_read_every_answer_also_one_that_went_wrong(app: App) -> None:
    for one in (event("GET", "/things/a"), event("GET", "/nothing"), event("DELETE", "/things/bug")):
        reply = app.answer({**one, "headers": {"Origin": "https://page.example"}}, None)
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "location" in reply.headers["access-control-expose-headers"].split(", ")


def test_a_browser_may_ask_before_on_any_path(app: App) -> None:
    headers = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST"}
    reply = app.answer({**event("OPTIONS", "/nothing"), "headers": headers}, None)
    assert reply.status == 200
    assert "POST" in reply.headers["access-control-allow-methods"]


def test_a_wrong_field_is_named(app: App) -> None:
    detail = read(app.answer(event("POST", "/meet/1", '{"name": 5}'), None))["detail"]
    assert detail == "Invalid request: name: input should be a valid string."


def test_requests_at_once_each_get_their_own_answer(app: App) -> None:
    def ask(number: int) -> Any:
        one = event("POST", f"/meet/{number}", orjson.dumps({"name": f"n{number}"}).decode())
        return read(app.answer(one, None))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(160)))
    assert answers == [
        {"number": str(number), "name": f"n{number}", "path": f"/meet/{number}"} for number in range(160)
    ]


class Seldom:
    """Routes that are made later; counts how often, and fails as often as it is told."""

    def __init__(self, *, failures: int = 0) -> None:
        self.made = 0
        self._failures = failures

    def make(self) -> Iterator[Router]:
        if self._failures:
            self._failures -= 1
            raise RuntimeError("hunter2")
        self.made += 1
        router = Router()

        @router.get("/seldom/<name>")
        def get(name: str) -> Response[Any]:
            return json_response(name)

        yield router


def test_routes_that_are_made_later_are_made_for_the_first_request_and_once() -> None:
    seldom = Seldom()
    app = make_app(Later("/seldom/.*", seldom.make))
    assert app.answer(event("GET", "/things/a"), None).status == 200
    assert app.answer(event("GET", "/seldom"), None).status == 404
    assert seldom.made == 0
    with ThreadPoolExecutor(8) as pool:
        asked = [f"/seldom/{number}" for number in range(80)]
        replies = list(pool.map(lambda path: app.answer(event("GET", path), None), asked))
    assert [(reply.status, read(reply)) for reply in replies] == [(200, str(number)) for number in range(80)]
    assert seldom.made == 1
    assert app.answer(event("POST", "/seldom/a", "{}"), None).status == 405
    assert app.answer(event("GET", "/seldom/a/"), None).status == 200


def test_routes_that_cannot_be_made_are_tried_again_by_the_next_request() -> None:
    seldom = Seldom(failures=1)
    app = make_app(Later("/seldom/.*", seldom.make))
    failed = app.answer(event("GET", "/seldom/a"), None)
    assert (failed.status, read(failed)["code"]) == (500, "internal")
    assert app.answer(event("GET", "/seldom/a"), None).status == 200


# ------------------------------------------------------------------ replies


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_an_answer_that_takes_a_while_keeps_the_line_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "KEEP_ALIVE_S", 0.001)
    done = asyncio.Event()

    async def work() -> bytes:
        await done.wait()
        return b"{}"

    parts = []
    async for part in keep_alive(work(), LOGGER, until=math.inf):
        parts.append(part)
        if len(parts) == 3:
            done.set()
    assert parts[:3] == [b"\n"] * 3
    assert orjson.loads(b"".join(parts)) == {}


async def test_a_failure_after_the_status_is_told_in_the_body() -> None:
    async def work() -> bytes:
        raise NotFound("gone")

    answer = b"".join([part async for part in keep_alive(work(), LOGGER, until=math.inf)])
    assert orjson.loads(answer) == {"__error__": {"error": "NotFound", "message": "gone"}}


async def test_a_failure_of_ours_after_the_status_is_told_without_its_text() -> None:
    async def work() -> bytes:
        raise RuntimeError("hunter2")

    answer = b"".join([part async for part in keep_alive(work(), LOGGER, until=math.inf)])
    assert set(orjson.loads(answer)) == {"__error__"}
    assert b"hunter2" not in answer


async def test_a_client_that_leaves_stops_the_waiting_and_not_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waits, "KEEP_ALIVE_S", 0.001)
    done, left, waiting = asyncio.Event(), threading.Event(), asyncio.Event()

    async def executing() -> bytes:
        await done.wait()
        return b"{}"

    execution = asyncio.ensure_future(executing())

    async def work() -> bytes:
        try:
            return await asyncio.shield(execution)
        finally:
            waiting.set()

    body = keep_alive(work(), LOGGER, until=math.inf, left=left.set)
    assert await anext(body) == b"\n"
    await body.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        await waiting.wait()
        assert not execution.done()
        assert await asyncio.to_thread(left.wait, 5)
        done.set()
        assert await execution == b"{}"


async def test_an_answer_that_is_not_there_in_time_is_broken_off_and_its_run_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left, waiting = threading.Event(), asyncio.Event()

    async def work() -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            waiting.set()
        return b"{}"

    now = 0.0
    monkeypatch.setattr(waits, "KEEP_ALIVE_S", 0.001)
    monkeypatch.setattr(waits, "time", SimpleNamespace(monotonic=lambda: now))
    body = keep_alive(work(), LOGGER, until=1.0, left=left.set)
    assert await anext(body) == b"\n"
    now = 1.0
    with pytest.raises(OutOfTime):
        await anext(body)
    async with asyncio.timeout(5):
        await waiting.wait()
    assert not left.is_set(), "the client has not left"


async def test_an_answer_that_is_there_is_sent_however_late_it_is() -> None:
    async def work() -> bytes:
        return b"{}"

    task = asyncio.ensure_future(work())
    await task
    assert [part async for part in keep_alive(task, LOGGER, until=0.0)] == [b"{}"]


def test_the_last_moment_is_before_the_functions_own() -> None:
    context = lambda_context("tail", "r")
    assert last_moment(context) < context.deadline


# ------------------------------------------------------------------ resources


@pytest.mark.parametrize(
    ("path", "function"),
    [
        ("/runs/wait", "crew"),
        ("/threads/t/runs/wait", "crew"),
        ("/threads/t/state", "crew"),
        ("/threads/t/state/c", "crew"),
        ("/threads/t/state/a/b", "crew"),
        ("/threads/t/history", "crew"),
        ("/runs/stream", "crew"),
        ("/threads/t/runs/stream", "crew"),
        ("/threads/t/runs/r/stream", "tail"),
        ("/threads/t/runs/r/join", "tail"),
        ("/threads/t/stream", "tail"),
        ("/threads/t/stream/events", "tail"),
        ("/threads/t/commands", "api"),
        ("/threads", "api"),
        ("/threads/t", "api"),
        ("/threads/t/runs", "api"),
        ("/threads/t/runs/r", "api"),
        ("/threads/a/b/state", "api"),
        ("/threads//state", "api"),
        ("/", "api"),
    ],
)
def test_a_path_goes_to_the_function_behind_its_resource(path: str, function: str) -> None:
    resource, found = resource_for(path)
    assert found == function
    assert (resource == PROXY) == (function == "api")


def test_a_path_of_the_control_plane_is_no_resource_of_its_own() -> None:
    assert {function for _, function in RESOURCES} == {"crew", "tail"}
