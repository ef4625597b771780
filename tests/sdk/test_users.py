"""The unmodified SDK, for two users of one service: their threads, runs and items, here and in the worker."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from langgraph_sdk.errors import APIStatusError, NotFoundError

from crewline.local.children import local_service
from tests.conftest import BASIC, SERVICE_URL

pytestmark = [
    pytest.mark.thorough,
    pytest.mark.skipif(bool(SERVICE_URL), reason="needs a service of a project with users"),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    project, state = BASIC.parent / "users", tmp_path_factory.mktemp("users")
    with local_service(project=project, state=state) as service:
        yield service.url


def client(url: str, user: str) -> SyncLangGraphClient:
    return get_sync_client(url=url, headers={"authorization": f"Bearer {user}-token"}, api_key=None)


@pytest.fixture
def ann(url: str) -> Iterator[SyncLangGraphClient]:
    with client(url, "ann") as made:
        yield made


@pytest.fixture
def bob(url: str) -> Iterator[SyncLangGraphClient]:
    with client(url, "bob") as made:
        yield made


def test_who_is_not_known_gets_the_projects_own_answer(url: str) -> None:
    answer = httpx.post(f"{url}/threads/search", json={})
    assert (answer.status_code, answer.json()["detail"]) == (401, "Who are you?")
    assert httpx.get(f"{url}/ok").json() == {"ok": True}


def test_each_finds_and_uses_their_own_threads_alone(
    ann: SyncLangGraphClient, bob: SyncLangGraphClient
) -> None:
    thread = ann.threads.create()["thread_id"]
    left = ann.runs.wait(thread, "steps", input={"n": 1})
    assert isinstance(left, dict)
    assert left["n"] == 2
    assert [one["thread_id"] for one in ann.threads.search(ids=[thread])] == [thread]
    assert bob.threads.search(ids=[thread]) == []
    for call in (
        lambda: bob.threads.get(thread),
        lambda: bob.threads.get_state(thread),
        lambda: bob.runs.wait(thread, "steps", input={"n": 1}, if_not_exists="create"),
        lambda: list(bob.runs.stream(thread, "steps", input={"n": 1})),
        lambda: bob.threads.delete(thread),
    ):
        with pytest.raises((NotFoundError, httpx.HTTPStatusError), match=r"not found|404"):
            call()
    assert ann.threads.get_state(thread)["values"] == {"n": 2, "log": ["a"]}


def test_a_run_in_the_worker_executes_for_who_started_it(bob: SyncLangGraphClient) -> None:
    thread = bob.threads.create()["thread_id"]
    run = bob.runs.create(thread, "whoami", input={})
    values = bob.runs.join(thread, run["run_id"])
    assert values["told"]["id"] == values["told"]["server"] == "bob"
    assert "s3cret" not in str(bob.runs.get(thread, run["run_id"]))


def test_each_has_a_store_of_their_own(ann: SyncLangGraphClient, bob: SyncLangGraphClient) -> None:
    ann.store.put_item(["notes"], key="k", value={"text": "mine"})
    hers = ann.store.get_item(["notes"], key="k")
    assert hers is not None
    assert hers["value"] == {"text": "mine"}
    assert bob.store.get_item(["notes"], key="k") is None
    assert bob.store.search_items([])["items"] == []


def test_what_another_has_cannot_be_made_again(ann: SyncLangGraphClient, bob: SyncLangGraphClient) -> None:
    taken = str(uuid4())
    ann.threads.create(thread_id=taken)
    assert ann.threads.create(thread_id=taken, if_exists="do_nothing")["thread_id"] == taken
    with pytest.raises(APIStatusError, match="exists already"):
        bob.threads.create(thread_id=taken, if_exists="do_nothing")
