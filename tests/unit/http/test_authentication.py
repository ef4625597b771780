"""Who may call which route: where a key is read, what every operation needs, and streams that outlive their key."""

from __future__ import annotations

import asyncio
import io
import math
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any, cast

import orjson
import pytest
from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler.api_gateway import Response
from aws_lambda_powertools.event_handler.openapi.params import Body

from crewline.errors import Forbidden, Unauthenticated, Unavailable
from crewline.http import system, waits
from crewline.http.apps import App, json_response
from crewline.http.authentication import NEEDED, Authentication
from crewline.http.replies import Reply
from crewline.http.resolvers import Resolver, Router
from crewline.http.streams import guarded
from crewline.http.waits import keep_alive
from crewline.local.proxy_events import lambda_context
from crewline.models.api_keys import SCOPES, Caller, Credential
from crewline.models.cors import STUDIO, CorsPolicy
from crewline.models.threads import Wire
from crewline.services.api_keys import FRESH_MS, Verified
from crewline.settings import UNDEPLOYED
from tests.unit.http.test_apps import event

SILENT = Logger(service="authentication", level="CRITICAL")
READ = """
POST /runs/crons/search
POST /runs/crons/count
GET /runs/crons/{cron_id}
GET /store/items POST /store/items/search POST /store/namespaces
GET /metrics
GET /assistants/{assistant_id}                         GET /assistants/{assistant_id}/graph
GET /assistants/{assistant_id}/schemas                 GET /assistants/{assistant_id}/subgraphs
GET /assistants/{assistant_id}/subgraphs/{namespace}   POST /assistants/{assistant_id}/versions
POST /assistants/search                                POST /assistants/count
GET /threads/{thread_id}                               GET /threads/{thread_id}/storage
POST /threads/search                                   POST /threads/count
GET /threads/{thread_id}/state                         GET /threads/{thread_id}/state/{checkpoint_id}
POST /threads/{thread_id}/state/checkpoint             GET /threads/{thread_id}/history
POST /threads/{thread_id}/history                      GET /threads/{thread_id}/runs
GET /threads/{thread_id}/runs/{run_id}                 GET /threads/{thread_id}/runs/{run_id}/join
GET /threads/{thread_id}/runs/{run_id}/stream          GET /threads/{thread_id}/stream
GET /runs/batch/{batch_id}
POST /threads/{thread_id}/stream/events
GET /v1/runs                                           GET /v1/runs/{run_id}
GET /v1/runs/{run_id}/events
GET /.well-known/agent-card.json                       GET /a2a/{assistant_id}/.well-known/agent-card.json
GET /v1/threads
GET /v1/threads/{thread_id}
GET /v1/threads/{thread_id}/history
"""
RUN = """
POST /runs/crons
POST /threads/{thread_id}/runs/crons
PATCH /runs/crons/{cron_id}
DELETE /runs/crons/{cron_id}
PUT /store/items DELETE /store/items
POST /threads                                          PATCH /threads/{thread_id}
DELETE /threads/{thread_id}                            POST /threads/{thread_id}/copy
POST /threads/{thread_id}/state                        POST /threads/{thread_id}/commands
POST /mcp                                              POST /a2a/{assistant_id}
POST /threads/{thread_id}/runs                         POST /threads/{thread_id}/runs/wait
POST /threads/{thread_id}/runs/stream                  DELETE /threads/{thread_id}/runs/{run_id}
POST /threads/{thread_id}/runs/{run_id}/cancel         POST /runs
POST /runs/batch                                       POST /runs/cancel
POST /runs/wait                                        POST /runs/stream
POST /v1/runs                                          POST /v1/runs/{run_id}/cancel
POST /v1/threads/{thread_id}/runs
POST /v1/runs
POST /v1/threads
PATCH /v1/threads/{thread_id}
DELETE /v1/threads/{thread_id}
POST /v1/threads/{thread_id}/copy
POST /v1/threads/{thread_id}/rollback
"""
ADMIN = """
POST /assistants                                       PATCH /assistants/{assistant_id}
DELETE /assistants/{assistant_id}                      POST /assistants/{assistant_id}/latest
POST /threads/prune
"""
ANYBODY = "GET /ok GET /info DELETE /mcp POST /webhooks/runs/{token}"


class Keys:
    """The API keys of a process, as these tests set them: which are good, and what time it is."""

    def __init__(self) -> None:
        self.now = 0
        self.failure: Exception | None = None
        self.asked: list[str] = []
        self.good = {scope: Credential.draw("acme").spell() for scope in (*SCOPES, "all")}

    def authenticate(self, text: str) -> Verified:
        self.asked.append(text)
        if self.failure:
            raise self.failure
        for name, good in self.good.items():
            if text == good:
                scopes = frozenset(SCOPES if name == "all" else ())
                scopes |= frozenset(scope for scope in SCOPES if scope == name)
                return Verified(Caller(tenant="acme", scopes=scopes, key_id=name), self.now + FRESH_MS)
        raise Unauthenticated("There is no such API key.")

    def is_fresh(self, verified: Verified) -> bool:
        assert verified.until is not None
        return self.now < verified.until


@pytest.fixture
def keys() -> Keys:
    return Keys()


def authentication(keys: Keys) -> Authentication:
    return Authentication(keys, "default")  # type: ignore[arg-type]


class Named(Wire):
    name: str


def make_app(keys: Keys | None, *, logger: Logger = SILENT) -> App:
    router = Router()

    @router.get("/threads/<thread_id>")
    def get(thread_id: str) -> Response[Any]:
        return json_response({"tenant": router.caller.tenant})

    @router.post("/runs")
    def create(body: Annotated[Named, Body()]) -> Response[Any]:
        if body.name == "bug":
            raise RuntimeError("hunter2")
        return json_response({"tenant": router.caller.tenant})

    @router.get("/unlisted")
    def unlisted() -> Response[Any]:
        return json_response({})

    @router.get("/threads/<thread_id>/stream")
    def stream(thread_id: str) -> Response[Any]:
        async def chunks() -> AsyncIterator[bytes]:
            yield b"a"

        return Response(200, "text/event-stream", chunks())

    return App(
        router,
        system.routes(cast("Any", None), langgraph="1.0", build=UNDEPLOYED),
        authentication=Authentication(None, "default") if keys is None else authentication(keys),
        cors=CorsPolicy(),
        max_body_bytes=100,
        logger=logger,
    )


def ask(app: App, method: str, path: str, body: str | None = None, **headers: str) -> Reply:
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    return app.answer({**event(method, path, body), "headers": spelled}, lambda_context("api", "r"))


def read(reply: Reply) -> Any:
    assert isinstance(reply.body, bytes)
    return orjson.loads(reply.body)


# ------------------------------------------------------------------ what every operation needs


def test_every_operation_needs_what_is_written_here() -> None:
    expected = {
        (method, path): scope
        for scope, told in (("read", READ), ("run", RUN), ("admin", ADMIN), (None, ANYBODY))
        for method, path in zip(*[iter(told.split())] * 2, strict=True)
    }
    document = orjson.loads(system.DOCUMENT.read_bytes())
    described = {
        (method.upper(), path): {
            scope for way in operation["security"] for scopes in way.values() for scope in scopes
        }
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert described == {place: {scope} - {None} for place, scope in expected.items()}
    hidden = {("GET", "/openapi.json"): None, ("GET", "/docs"): None}
    assert expected | hidden == NEEDED


def test_a_key_may_be_sent_in_two_ways_and_one_is_enough() -> None:
    document = orjson.loads(system.DOCUMENT.read_bytes())
    schemes = document["components"]["securitySchemes"]
    assert (schemes["apiKey"]["name"], schemes["bearer"]["scheme"]) == ("x-api-key", "bearer")
    assert document["paths"]["/runs"]["post"]["security"] == [{"apiKey": ["run"]}, {"bearer": ["run"]}]
    assert {"401", "403"} <= set(document["paths"]["/runs"]["post"]["responses"])
    assert not {"401", "403"} & set(document["paths"]["/ok"]["get"]["responses"])


def test_the_route_that_is_judged_is_the_one_that_answers(keys: Keys) -> None:
    resolver = Resolver()
    router = Router()
    said = []
    for method, path in NEEDED:
        rule = path.replace("{", "<").replace("}", ">")

        def tell(place: tuple[str, str] = (method, path), **_: str) -> Response[Any]:
            said.append(place)
            return json_response({})

        # Without validation, whose models would take `tell`'s own parameters for the request's.
        router.route(rule, method, enable_validation=False)(tell)
    resolver.include_router(router)
    for place in NEEDED:
        method, path = place
        asked = event(method, path.replace("{", "").replace("}", ""))
        assert resolver.place(asked) == place
        resolver.respond(asked, None, None, caller=None)
    assert said == list(NEEDED)


# ------------------------------------------------------------------ keys in headers


@pytest.mark.parametrize(
    "headers",
    [
        {"x_api_key": "KEY"},
        {"X_Api_Key": " KEY "},
        {"authorization": "Bearer KEY"},
        {"Authorization": "bearer  KEY"},
        {"x_api_key": "KEY", "authorization": "Bearer KEY"},
        {"x_api_key": "KEY", "authorization": "Basic YTpi"},
        {"x_api_key": "", "authorization": "Bearer KEY"},
    ],
)
def test_a_key_is_read_in_either_header(keys: Keys, headers: dict[str, str]) -> None:
    sent = {name: value.replace("KEY", keys.good["read"]) for name, value in headers.items()}
    reply = ask(make_app(keys), "GET", "/threads/t", **sent)
    assert (reply.status, read(reply)) == (200, {"tenant": "acme"})
    assert keys.asked == [keys.good["read"]]


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({}, "This needs an API key."),
        ({"x_api_key": ""}, "This needs an API key."),
        ({"authorization": "KEY"}, "This needs an API key."),
        ({"authorization": "Bearer"}, "This needs an API key."),
        ({"authorization": "Basic KEY"}, "This needs an API key."),
        ({"x_api_key": "KEYx"}, "There is no such API key."),
        (
            {"x_api_key": "KEY", "authorization": "Bearer KEYx"},
            "x-api-key and Authorization have different keys.",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/threads/t", "/threads/t/stream", "/nothing", "/unlisted"])
def test_without_a_good_key_a_request_is_told_how_to_send_one(
    keys: Keys, headers: dict[str, str], sentence: str, path: str
) -> None:
    sent = {name: value.replace("KEY", keys.good["read"]) for name, value in headers.items()}
    reply = ask(make_app(keys), "GET", path, origin="https://page.example", **sent)
    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert reply.headers["access-control-allow-origin"] == "*"
    told = read(reply)
    assert told["code"] == "unauthenticated"
    assert sentence in told["detail"]
    for part in ("`x-api-key: ", "`Authorization: Bearer ", "`crewline keys create`"):
        assert part in told["detail"]
    assert keys.good["read"] not in told["detail"]


@pytest.mark.parametrize("path", ["/ok", "/info", "/openapi.json", "/docs"])
def test_what_tells_of_the_service_needs_no_key(keys: Keys, path: str) -> None:
    assert ask(make_app(keys), "GET", path, x_api_key="hunter2").status == 200
    assert ask(make_app(keys), "OPTIONS", path).status == 204
    assert keys.asked == []


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/ok"), ("HEAD", "/ok"), ("GET", "/okay"), ("get", "/threads/t")]
)
def test_what_no_route_answers_needs_one(keys: Keys, method: str, path: str) -> None:
    app = make_app(keys)
    assert ask(app, method, path).status == 401
    assert ask(app, method, path, x_api_key=keys.good["read"]).status in {404, 405}


def test_a_table_that_does_not_answer_is_told_as_that(keys: Keys) -> None:
    keys.failure = Unavailable("DynamoDB did not answer.")
    assert ask(make_app(keys), "GET", "/threads/t", x_api_key="x").status == 503


def test_where_nobody_is_asked_any_key_will_do() -> None:
    app = make_app(None)
    for headers in ({}, {"x_api_key": "lsv2_pt_1"}, {"x_api_key": "a", "authorization": "Bearer b"}):
        reply = ask(app, "GET", "/threads/t", **headers)
        assert (reply.status, read(reply)) == (200, {"tenant": "default"})
    assert ask(app, "GET", "/unlisted").status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://page.example", 403),
        ("null", 403),
        ("http://localhost.page.example", 403),
        ("http://localhost:3000", 200),
        (STUDIO, 200),
    ],
)
def test_where_nobody_is_asked_pages_of_elsewhere_start_nothing(origin: str, status: int) -> None:
    # With this type a browser sends a body without asking before, whatever it does with the answer.
    reply = ask(make_app(None), "POST", "/runs", '{"name": "a"}', origin=origin, content_type="text/plain")
    assert reply.status == status
    assert status == 200 or "http.cors of the manifest can allow them" in read(reply)["detail"]


def test_where_nobody_is_asked_a_manifest_may_allow_pages_beside_those_of_this_machine() -> None:
    page = "https://page.example"
    anybody = Authentication(None, "default", pages=CorsPolicy(allow_origins=(page,)))
    for origin in (page, "http://127.0.0.1:2024"):
        assert anybody.verify({"origin": origin}).caller.tenant == "default"
    with pytest.raises(Forbidden):
        anybody.verify({"origin": "https://other.example"})


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("rebound.example", 403),
        ("rebound.example:2024", 403),
        ("127.0.0.1.rebound.example:2024", 403),
        ("localhost", 200),
        ("127.0.0.1:2024", 200),
        ("[::1]:2024", 200),
    ],
)
def test_where_nobody_is_asked_another_name_of_this_machine_reads_nothing(host: str, status: int) -> None:
    reply = ask(make_app(None), "GET", "/threads/t", host=host)
    assert reply.status == status
    assert status == 200 or "http.cors of the manifest allow the other name" in read(reply)["detail"]


def test_where_nobody_is_asked_a_manifest_may_allow_another_name() -> None:
    anybody = Authentication(None, "default", pages=CorsPolicy(allow_origins=("https://tunnel.example",)))
    assert anybody.verify({"host": "tunnel.example"}).caller.tenant == "default"


# ------------------------------------------------------------------ scopes


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_only_its_own_routes(keys: Keys, scope: str) -> None:
    app = make_app(keys)
    for method, path, needed in (
        ("GET", "/threads/t", "read"),
        ("POST", "/runs", "run"),
        ("GET", "/unlisted", "admin"),
    ):
        body = '{"name": "a"}' if method == "POST" else None
        reply = ask(app, method, path, body, x_api_key=keys.good[scope])
        assert reply.status == (200 if scope == needed else 403)
        if scope != needed:
            assert f"needs a key with scope {needed}" in read(reply)["detail"]


def test_nothing_of_a_body_is_read_before_its_sender_is_known(keys: Keys) -> None:
    app = make_app(keys)
    for body in ("{" * 200, "{", '{"name": 5}'):
        assert ask(app, "POST", "/runs", body).status == 401
        assert ask(app, "POST", "/runs", body, x_api_key=keys.good["read"]).status == 403
        assert ask(app, "POST", "/runs", body, x_api_key=keys.good["run"]).status in {413, 422}


def test_no_line_of_the_log_holds_a_key(keys: Keys) -> None:
    log = io.StringIO()
    logger = Logger(service=f"log-{id(log)}", level="DEBUG", stream=log)
    app = make_app(keys, logger=logger)
    texts = list(keys.good.values())
    for text in texts:
        for way in ({"x_api_key": text}, {"authorization": f"Bearer {text}"}):
            for body in ('{"name": "a"}', '{"name": "bug"}', "{"):
                ask(app, "POST", "/runs", body, **way)
    keys.failure = RuntimeError("the table is broken")
    assert ask(app, "GET", "/threads/t", x_api_key=texts[0]).status == 500
    keys.failure = Unavailable("DynamoDB did not answer.")
    assert ask(app, "GET", "/threads/t", x_api_key=texts[0]).status == 503
    assert "hunter2" in log.getvalue()
    assert "the table is broken" in log.getvalue()
    for text in texts:
        assert text[-43:] not in log.getvalue()


# ------------------------------------------------------------------ streams


class Source:
    """A run's frames, as fast as they are taken, until its client leaves."""

    def __init__(self) -> None:
        self.closed = False
        self.left = threading.Event()

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0)
        finally:
            self.closed = True


async def test_a_stream_asks_again_every_minute_and_goes_on_while_its_key_is_good(keys: Keys) -> None:
    checked, source = authentication(keys), Source()
    headers = {"x-api-key": keys.good["read"]}
    chunks = checked.watched(source.chunks(), checked.verify(headers), headers)
    for _ in range(30):  # ten chunks a minute
        assert await anext(chunks) == b"x"
        keys.now += FRESH_MS // 10
    assert len(keys.asked) == 3
    await chunks.aclose()  # type: ignore[attr-defined]
    assert source.closed


@pytest.mark.parametrize("failure", [Unauthenticated("API key k was revoked."), Unavailable("no answer")])
async def test_a_stream_whose_key_is_gone_is_broken_and_its_run_left_as_by_any_client(
    keys: Keys, failure: Exception
) -> None:
    checked, source = authentication(keys), Source()
    headers = {"x-api-key": keys.good["read"]}
    told = guarded(source.chunks(), SILENT, until=math.inf, left=source.left.set)
    chunks = checked.watched(told, checked.verify(headers), headers)
    keys.failure = failure
    keys.now = FRESH_MS - 1
    assert await anext(chunks) == b"x"
    keys.now = FRESH_MS
    with pytest.raises(type(failure)):
        await anext(chunks)
    assert source.closed
    assert await asyncio.to_thread(source.left.wait, 5)


async def test_an_answer_that_is_waited_for_is_not_given_to_a_key_that_is_gone(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waits, "KEEP_ALIVE_S", 0.001)
    checked, done, left = authentication(keys), asyncio.Event(), threading.Event()
    headers = {"authorization": f"Bearer {keys.good['run']}"}

    async def work() -> bytes:
        await done.wait()
        return b'{"secret": 1}'

    answer = keep_alive(work(), SILENT, until=math.inf, left=left.set)
    chunks = checked.watched(answer, checked.verify(headers), headers)
    assert await anext(chunks) == b"\n"
    del keys.good["run"]
    keys.now = FRESH_MS
    with pytest.raises(Unauthenticated):
        await anext(chunks)
    assert await asyncio.to_thread(left.wait, 5)


async def test_where_nobody_is_asked_a_stream_is_what_it_was() -> None:
    anybody, source = Authentication(None, "default"), Source()
    chunks = source.chunks()
    assert anybody.watched(chunks, anybody.verify({}), {}) is chunks


async def test_the_streams_of_an_app_are_watched(keys: Keys) -> None:
    reply = ask(make_app(keys), "GET", "/threads/t/stream", x_api_key=keys.good["read"])
    assert not isinstance(reply.body, bytes)
    keys.now, keys.good = FRESH_MS, {}
    with pytest.raises(Unauthenticated):
        await anext(reply.body)
