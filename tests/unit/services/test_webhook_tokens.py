"""Tokens of incoming webhooks: made once, shown once, and good for nothing once they are rotated or revoked."""

from __future__ import annotations

import pytest

from crewline.errors import BadRequest, InvalidRequest, NotFound
from crewline.models.api_keys import Credential
from crewline.models.clocks import iso
from crewline.store import keys
from crewline.store.changes import Put
from tests.unit.store.worlds import ECHO, NOW, TENANT, FakeClock, World

NONE = "There is no such webhook."


def test_a_token_is_kept_without_its_secret(world: World) -> None:
    made, text = world.webhook_tokens.create(TENANT, "echo", "forms")
    sent = Credential.parse(text, prefix="whk")
    assert sent is not None
    assert (made.tenant, made.token_id, made.deployment, made.label) == (TENANT, sent.key_id, "echo", "forms")
    ((place, item),) = world.items().items()
    assert place == keys.webhook_token(TENANT, made.token_id)
    assert item == {
        "PK": f"W#{TENANT}",
        "SK": f"T#{made.token_id}",
        "digest": sent.digest,
        "deployment": "echo",
        "label": "forms",
        "created_at": iso(NOW),
    }
    assert sent.secret not in repr(item)


def test_a_token_leads_to_what_it_starts_runs_of(world: World) -> None:
    made, text = world.webhook_tokens.create(TENANT, f"dep_{ECHO.replace('-', '')}")
    assert made.deployment == ECHO
    assert world.webhook_tokens.find(text) == made


def test_tokens_are_listed_newest_first_and_nothing_else_is(world: World, clock: FakeClock) -> None:
    made = []
    for _ in range(3):
        made.append(world.webhook_tokens.create(TENANT, "echo")[0])
        clock.pass_(1)
    other, _ = world.webhook_tokens.create("globex", "echo")
    world.table.write(Put(key=keys.webhook_secret(TENANT), item={"secret": "whsec_x"}))
    assert world.webhook_tokens.list(TENANT) == made[::-1]
    assert world.webhook_tokens.list("globex") == [other]


def test_a_rotated_token_has_one_text_at_a_time(world: World, clock: FakeClock) -> None:
    made, first = world.webhook_tokens.create(TENANT, "echo")
    clock.pass_(1)
    rotated, second = world.webhook_tokens.rotate(TENANT, made.token_id)
    assert (rotated.token_id, rotated.rotated_at) == (made.token_id, iso(NOW + 1))
    assert world.webhook_tokens.find(second) == rotated
    with pytest.raises(NotFound, match=NONE):
        world.webhook_tokens.find(first)


def test_a_revoked_token_starts_nothing_and_stays_revoked(world: World, clock: FakeClock) -> None:
    made, text = world.webhook_tokens.create(TENANT, "echo")
    revoked = world.webhook_tokens.revoke(TENANT, made.token_id)
    clock.pass_(1)
    assert world.webhook_tokens.revoke(TENANT, made.token_id) == revoked
    assert revoked.revoked_at == iso(NOW)
    with pytest.raises(NotFound, match=NONE):
        world.webhook_tokens.find(text)
    with pytest.raises(NotFound, match=f"Webhook {made.token_id} of tenant {TENANT} was revoked"):
        world.webhook_tokens.rotate(TENANT, made.token_id)
    assert world.webhook_tokens.list(TENANT) == [revoked]


def test_what_opens_nothing_is_not_told_apart(world: World) -> None:
    made, text = world.webhook_tokens.create(TENANT, "echo")
    _, key = world.api_keys.create(TENANT, ["run"])
    unknown = Credential.draw(TENANT, prefix="whk").spell()
    wrong = Credential.draw(TENANT, prefix="whk", key_id=made.token_id).spell()
    elsewhere = text.replace(f"_{TENANT}_", "_globex_")
    for sent in ("", "x", key, unknown, wrong, elsewhere, text.replace("whk_", "crewline_")):
        with pytest.raises(NotFound) as refused:
            world.webhook_tokens.find(sent)
        assert refused.value.message == NONE


@pytest.mark.parametrize("act", ["rotate", "revoke"])
def test_a_token_that_is_not_there_is_not_found(world: World, act: str) -> None:
    with pytest.raises(NotFound, match=f"Tenant {TENANT} has no webhook 'abc'; `crewline webhooks list"):
        getattr(world.webhook_tokens, act)(TENANT, "abc")
    assert world.items() == {}


def test_what_cannot_be_made_is_refused(world: World) -> None:
    for deployment, label in (("", ""), ("x" * 256, ""), ("echo", "x" * 256)):
        with pytest.raises(InvalidRequest):
            world.webhook_tokens.create(TENANT, deployment, label)
    with pytest.raises(InvalidRequest, match="must match"):
        world.webhook_tokens.create("A Tenant", "echo")
    with pytest.raises(BadRequest, match="is a thread's id"):
        world.webhook_tokens.create(TENANT, f"thr_{ECHO.replace('-', '')}")
    assert world.items() == {}
