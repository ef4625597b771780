"""The text of an API key, and what a caller may do."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crewline.errors import Forbidden
from crewline.models.api_keys import SCOPES, TENANT, Caller, Credential, Scope


@given(st.from_regex(TENANT, fullmatch=True))
def test_what_is_drawn_is_read_again(tenant: str) -> None:
    drawn = Credential.draw(tenant)
    text = drawn.spell()
    assert text == f"crewline_{tenant}_{drawn.key_id}_{drawn.secret}"
    assert Credential.parse(text) == drawn


def test_a_key_and_the_token_of_a_webhook_are_never_taken_for_one_another() -> None:
    key, token = Credential.draw("acme"), Credential.draw("acme", prefix="whk")
    assert token.spell() == f"whk_acme_{token.key_id}_{token.secret}"
    assert Credential.parse(token.spell(), prefix="whk") == token
    assert Credential.parse(token.spell()) is None
    assert Credential.parse(key.spell(), prefix="whk") is None


def test_one_that_succeeds_another_has_its_id() -> None:
    drawn = Credential.draw("acme")
    next_ = Credential.draw("acme", key_id=drawn.key_id)
    assert (next_.key_id, next_.secret != drawn.secret) == (drawn.key_id, True)


def test_no_two_are_alike() -> None:
    drawn = [Credential.draw("acme") for _ in range(100)]
    assert len({one.key_id for one in drawn}) == len({one.secret for one in drawn}) == 100


def test_what_is_stored_of_a_secret_is_its_digest() -> None:
    drawn = Credential.draw("acme")
    assert drawn.digest == hashlib.sha256(drawn.secret.encode()).digest()
    assert drawn.secret not in repr(drawn)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "crewline",
        "crewline_acme_abcdefghijkl_" + "x" * 42,
        "crewline_acme_abcdefghijkl_" + "x" * 44,
        "crewline_acme_abcdefghijk_" + "x" * 43,
        "crewline_Acme_abcdefghijkl_" + "x" * 43,
        "crewline__abcdefghijkl_" + "x" * 43,
        "crewline_" + "a" * 37 + "_abcdefghijkl_" + "x" * 43,
        "crewline_a#b_abcdefghijkl_" + "x" * 43,
        "crewline_acme_abcdefghijkl_" + "é" * 43,
        "crewline_acme_abcdefghijkl_" + "x" * 43 + "\n",
        "lsv2_pt_0123456789",
    ],
)
def test_what_is_spelled_otherwise_is_no_key(text: str) -> None:
    assert Credential.parse(text) is None


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_opens_only_its_own(scope: Scope) -> None:
    caller = Caller(tenant="acme", scopes=frozenset({scope}), key_id="k")
    caller.require(scope)
    for other in set(SCOPES) - {scope}:
        with pytest.raises(
            Forbidden, match=f"needs a key with scope {other}; key k has {scope}.*--scope {other}"
        ):
            caller.require(other)
