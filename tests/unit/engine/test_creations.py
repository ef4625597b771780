"""Threads that begin with a state: whole when they are seen, or not there at all."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from botocore.exceptions import ReadTimeoutError
from pydantic import ValidationError

from crewline.errors import BadRequest, Conflict, InvalidRequest, NotFound, ThreadExists, Unavailable
from crewline.models.leases import DRAFT_MS
from crewline.models.states import LARGEST_BEGINNING, ThreadBegin
from crewline.services.creations import Creations
from crewline.store.idempotency import Once
from tests.unit.engine.places import Place
from tests.unit.engine.test_copies import everything_of, others
from tests.unit.store.worlds import TENANT, Calls

INPUT = {"updates": [{"values": {"n": 1, "log": []}, "as_node": "__input__"}]}
STEP = {"updates": [{"values": {"n": 5, "log": ["by hand"]}, "as_node": "a"}]}


def create(place: Place, *supersteps: Any, once: Once | None = None, **body: Any) -> Any:
    world = place.world
    creations = Creations(
        world.table,
        world.records,
        world.clock,
        threads=world.threads,
        drafts=world.drafts,
        editor=place.editor,
    )
    fields = {"graph_id": "steps", "supersteps": list(supersteps), **body}
    return creations.create(TENANT, ThreadBegin.model_validate(fields), once=once)


def test_a_thread_begins_with_the_state_that_its_supersteps_make(place: Place) -> None:
    made = create(place, INPUT, STEP, metadata={"mine": 1}, ttl=60)
    place.thread = made["thread_id"]

    assert made == place.thread_row()
    assert (made["values"], made["status"]) == ({"n": 5, "log": ["by hand"]}, "interrupted")
    assert made["metadata"] == {"mine": 1, "graph_id": "steps"}
    assert place.world.threads.get(TENANT, place.thread, ttl=True)["ttl"] is not None
    assert [one["metadata"]["source"] for one in place.again().history()] == ["update", "input"]
    assert {one["metadata"]["graph_id"] for one in place.again().history()} == {"steps"}
    assert place.again().run(None, crew="steps") == {"n": 7, "log": ["by hand", "b", "c"]}


def test_an_update_may_be_a_command(place: Place) -> None:
    command = {"updates": [{"command": {"update": {"n": 8}, "goto": "c"}, "as_node": "a"}]}
    place.thread = create(place, INPUT, command)["thread_id"]

    assert place.state()["values"]["n"] == 8
    assert "c" in place.state()["next"]
    with pytest.raises(ValidationError, match="one or the other"):
        ThreadBegin.model_validate({"supersteps": [{"updates": [{"values": {}, "command": {}}]}]})


def test_a_thread_may_begin_with_more_than_a_transaction_holds(place: Place) -> None:
    place.thread = create(place, INPUT, *[STEP] * 120)["thread_id"]

    assert len(place.history(limit=1000)) == 121
    assert place.again().state()["values"]["log"] == ["by hand"] * 120
    with pytest.raises(ValidationError):
        ThreadBegin.model_validate({"supersteps": [STEP] * (LARGEST_BEGINNING + 1)})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"graph_id": None}, BadRequest),
        ({"graph_id": "nobody"}, InvalidRequest),
        ({"supersteps": [INPUT, {"updates": [{"values": {}, "as_node": "nobody"}]}]}, BadRequest),
        ({"thread_id": "nope"}, ValidationError),
    ],
)
def test_what_cannot_be_made_leaves_nothing(place: Place, body: Any, error: type[Exception]) -> None:
    before = place.world.items()
    with pytest.raises(error):
        create(place, INPUT, **body)
    assert place.world.items() == before


def test_an_id_that_is_taken_is_refused_or_answered_as_it_is(place: Place) -> None:
    before = place.world.items()

    with pytest.raises(ThreadExists):
        create(place, INPUT, thread_id=place.thread)

    assert create(place, INPUT, thread_id=place.thread, if_exists="do_nothing") == place.thread_row()
    assert place.world.items() == before


def test_the_same_request_makes_one_thread(place: Place) -> None:
    once = Once(scope="POST /threads", key="k", digest="d")

    first = create(place, INPUT, once=once)

    assert create(place, INPUT, once=once) == first
    assert others(place) == {first["thread_id"]}
    with pytest.raises(Conflict):
        create(place, INPUT, once=Once(scope="POST /threads", key="k", digest="other"))


def test_of_the_same_request_twice_at_once_one_makes_the_thread(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = Once(scope="POST /threads", key="k", digest="d")
    made: list[Any] = []
    write = place.world.drafts.write

    def write_late(*args: Any) -> None:
        monkeypatch.setattr(place.world.drafts, "write", write)
        made.append(create(place.again(), INPUT, once=once))
        write(*args)

    monkeypatch.setattr(place.world.drafts, "write", write_late)

    assert create(place, INPUT, once=once) == made[0]
    for message in place.world.messages():
        place.world.threads.purge(message["tenant"], message["thread_id"])
    (left,) = others(place) - {made[0]["thread_id"]}
    assert len(everything_of(place, left)) == 1


@pytest.mark.parametrize("lands", [0, 1, 2])
def test_a_creation_that_dies_is_never_seen_and_the_id_can_be_used_again(place: Place, lands: int) -> None:
    thread_id = str(uuid4())
    dead = [ReadTimeoutError(endpoint_url="http://db")] * 40
    db = place.world.cloud.dynamodb
    with Calls(db, "TransactWriteItems") as calls, Calls(db, "UpdateItem") as updates:
        calls.failures, updates.failures = [*[None] * lands, *dead], list(dead)
        with pytest.raises(Unavailable):
            create(place, INPUT, thread_id=thread_id)
    with pytest.raises(NotFound):
        place.world.threads.get(TENANT, thread_id)

    place.clock.pass_(DRAFT_MS)
    place.world.threads.purge(TENANT, thread_id)

    assert create(place, INPUT, STEP, thread_id=thread_id)["values"] == {"n": 5, "log": ["by hand"]}
