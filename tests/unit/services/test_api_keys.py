"""API keys: made once, shown once, found by whoever sends them, and gone within a minute of their revocation."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from botocore.exceptions import EndpointConnectionError

from crewline.errors import InvalidRequest, NotFound, Unauthenticated, Unavailable
from crewline.models.api_keys import SCOPES, Caller, Credential
from crewline.models.clocks import iso
from crewline.services import api_keys
from crewline.services.api_keys import FRESH_MS, ApiKeys
from crewline.store import keys
from tests.unit.store.worlds import NOW, TENANT, Calls, FakeClock, World


@pytest.fixture
def reads(world: World) -> Any:
    with Calls(world.cloud.dynamodb, "GetItem") as calls:
        yield calls


def tampered(text: str) -> str:
    """The same key with another secret."""
    return text[:-1] + ("A" if text[-1] != "A" else "B")


# ------------------------------------------------------------------ made, listed, revoked


def test_a_key_is_kept_without_its_secret(world: World) -> None:
    made, text = world.api_keys.create(TENANT, ["run", "read"], "the web shop")
    sent = Credential.parse(text)
    assert sent is not None
    assert (made.tenant, made.key_id, made.label) == (TENANT, sent.key_id, "the web shop")
    ((place, item),) = world.items().items()
    assert place == keys.api_key(TENANT, made.key_id)
    assert item == {
        "PK": f"H#{TENANT}",
        "SK": made.key_id,
        "digest": sent.digest,
        "scopes": ["read", "run"],
        "label": "the web shop",
        "created_at": iso(NOW),
    }
    assert sent.secret not in repr(item)


def test_keys_are_listed_newest_first_and_those_of_another_tenant_never(
    world: World, clock: FakeClock
) -> None:
    made = []
    for _ in range(3):
        made.append(world.api_keys.create(TENANT, ["read"])[0])
        clock.pass_(1)
    other, _ = world.api_keys.create("globex", SCOPES)
    assert world.api_keys.list(TENANT) == made[::-1]
    assert world.api_keys.list("globex") == [other]
    assert world.api_keys.list("initech") == []


def test_an_id_that_is_taken_is_drawn_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Credential.draw(TENANT), Credential.draw(TENANT)
    draws = iter([first, first, second])
    monkeypatch.setattr(Credential, "draw", lambda _, **__: next(draws))
    assert world.api_keys.create(TENANT, ["read"])[1] == first.spell()
    assert world.api_keys.create(TENANT, ["read"])[1] == second.spell()
    assert world.api_keys.authenticate(first.spell()).caller.key_id == first.key_id


def test_a_key_is_revoked_once(world: World, clock: FakeClock) -> None:
    made, _ = world.api_keys.create(TENANT, ["read"], "old")
    revoked = world.api_keys.revoke(TENANT, made.key_id)
    assert revoked.revoked_at == iso(NOW)
    clock.pass_(5_000)
    assert world.api_keys.revoke(TENANT, made.key_id) == revoked
    assert world.api_keys.list(TENANT) == [revoked]


def test_only_a_key_of_the_tenant_can_be_revoked(world: World) -> None:
    made, text = world.api_keys.create(TENANT, ["read"])
    before = world.items()
    with pytest.raises(
        NotFound, match=f"globex has no API key '{made.key_id}'; .*crewline keys list --tenant globex"
    ):
        world.api_keys.revoke("globex", made.key_id)
    assert world.items() == before
    assert world.api_keys.authenticate(text).caller.tenant == TENANT


@pytest.mark.parametrize(
    ("tenant", "scopes", "label", "message"),
    [
        ("Acme", ["read"], "", "Tenant 'Acme' must match"),
        ("a_b", ["read"], "", "must match"),
        (TENANT, [], "", "at least one scope: read, run, admin"),
        (TENANT, ["read"], "x" * 256, "at most 255 characters, not 256"),
    ],
)
def test_what_makes_no_key_is_refused(
    world: World, tenant: str, scopes: Any, label: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        world.api_keys.create(tenant, scopes, label)
    assert world.items() == {}


# ------------------------------------------------------------------ authenticated


def test_a_key_says_who_sends_it(world: World) -> None:
    made, text = world.api_keys.create(TENANT, ["run"])
    caller = world.again().api_keys.authenticate(text).caller
    assert caller == Caller(tenant=TENANT, scopes=frozenset({"run"}), key_id=made.key_id)


def test_a_good_key_is_read_once_a_minute_and_strongly_consistent(
    world: World, clock: FakeClock, reads: Calls
) -> None:
    _, text = world.api_keys.create(TENANT, ["read"])
    for _ in range(3):
        verified = world.api_keys.authenticate(text)
        clock.pass_(FRESH_MS // 3 - 1)
    assert len(reads.requests) == 1
    assert reads.requests[0]["ConsistentRead"] is True
    assert world.api_keys.is_fresh(verified)
    clock.pass_(3)
    assert not world.api_keys.is_fresh(verified)
    assert world.api_keys.authenticate(text).until == clock.now + FRESH_MS
    assert len(reads.requests) == 2


def test_a_revocation_acts_within_a_minute_in_a_process_that_knows_the_key(
    world: World, clock: FakeClock
) -> None:
    made, text = world.api_keys.create(TENANT, ["read"])
    world.api_keys.authenticate(text)
    world.again().api_keys.revoke(TENANT, made.key_id)
    clock.pass_(FRESH_MS - 1)
    world.api_keys.authenticate(text)
    clock.pass_(1)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match=f"API key {made.key_id} was revoked at"):
            world.api_keys.authenticate(text)


def test_a_minute_counts_from_before_the_read(world: World, clock: FakeClock, reads: Calls) -> None:
    _, text = world.api_keys.create(TENANT, ["read"])
    reads.before = lambda: clock.pass_(7_000)
    assert world.api_keys.authenticate(text).until == NOW + FRESH_MS


def test_a_clock_that_is_put_back_makes_nothing_last_longer(
    world: World, clock: FakeClock, reads: Calls
) -> None:
    _, text = world.api_keys.create(TENANT, ["read"])
    world.api_keys.authenticate(text)
    clock.pass_(-1)
    world.api_keys.authenticate(text)
    assert len(reads.requests) == 2


def test_what_is_not_good_is_remembered_by_nobody(world: World) -> None:
    drawn = Credential.draw(TENANT)
    for _ in range(2):
        with pytest.raises(Unauthenticated, match="no such API key"):
            world.api_keys.authenticate(drawn.spell())
    made, text = world.api_keys.create(TENANT, ["read"])
    with pytest.raises(Unauthenticated, match="no such API key"):
        world.api_keys.authenticate(tampered(text))
    assert world.api_keys.authenticate(text).caller.key_id == made.key_id
    with pytest.raises(Unauthenticated, match="no such API key"):
        world.api_keys.authenticate(tampered(text))


def test_a_key_is_none_of_another_tenant(world: World) -> None:
    _, text = world.api_keys.create(TENANT, ["read"])
    world.api_keys.authenticate(text)
    with pytest.raises(Unauthenticated, match="no such API key"):
        world.api_keys.authenticate(text.replace(f"_{TENANT}_", "_globex_"))


def test_what_is_not_spelled_like_a_key_is_not_looked_for(world: World, reads: Calls) -> None:
    for text in ("", "hunter2", "crewline_acme_k_s", "\ud800"):
        with pytest.raises(Unauthenticated, match="not spelled like an API key"):
            world.api_keys.authenticate(text)
    assert reads.requests == []


def test_a_table_that_does_not_answer_is_no_wrong_key(world: World, reads: Calls) -> None:
    _, text = world.api_keys.create(TENANT, ["read"])
    reads.failures.append(EndpointConnectionError(endpoint_url="http://table"))
    with pytest.raises(Unavailable):
        world.api_keys.authenticate(text)
    assert world.api_keys.authenticate(text).caller.tenant == TENANT


def test_a_process_knows_a_bounded_number_of_keys_the_latest_ones(
    world: World, monkeypatch: pytest.MonkeyPatch, reads: Calls
) -> None:
    monkeypatch.setattr(api_keys, "_MOST", 2)
    texts = [world.api_keys.create(TENANT, ["read"])[1] for _ in range(3)]
    known = ApiKeys(world.table, world.clock)
    for place in (0, 1, 0, 2, 0, 1):  # 0 is used again and again; 2 displaces 1, and 1 displaces 2
        known.authenticate(texts[place])
    assert len(reads.requests) == 4
    assert len(known._known) == 2


def test_no_process_holds_the_text_of_a_key(world: World) -> None:
    _, text = world.api_keys.create(TENANT, ["read"])
    world.api_keys.authenticate(text)
    sent = Credential.parse(text)
    assert sent is not None
    assert sent.secret not in repr(vars(world.api_keys))
    assert sent.secret not in orjson.dumps([str(name) for name in world.items()]).decode()
