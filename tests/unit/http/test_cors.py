"""Cross-origin requests: who may read, what is told, and what a manifest may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from crewline.http.cors import Cors
from crewline.http.replies import Reply
from crewline.models.cors import LOOPBACK, STUDIO, CorsPolicy

PAGE = "https://page.example"


def asked(origin: str = PAGE, **more: str) -> dict[str, str]:
    return {"origin": origin, "access-control-request-method": "POST", **more}


def test_any_page_may_call_unless_told_otherwise() -> None:
    question = asked(
        **{
            "access-control-request-headers": "content-type,x-api-key",
            "access-control-request-private-network": "true",
        }
    )
    reply = Cors(CorsPolicy()).preflight(question)
    assert reply.status == 200
    assert reply.headers == {
        "access-control-allow-origin": "*",
        "access-control-allow-methods": "DELETE, GET, OPTIONS, PATCH, POST, PUT",
        "access-control-allow-headers": "content-type,x-api-key",
        "access-control-max-age": "600",
        "access-control-allow-private-network": "true",
    }


@pytest.mark.parametrize(
    ("origin", "may"),
    [
        (STUDIO, True),
        ("http://localhost:3000", True),
        ("http://127.0.0.1:5173", True),
        ("https://[::1]", True),
        (PAGE, False),
        ("http://localhost.page.example", False),
        ("http://localhost:3000.page.example", False),
        ("null", False),
    ],
)
def test_a_laptop_is_open_to_its_own_pages_and_the_studio(origin: str, may: bool) -> None:
    cors = Cors(LOOPBACK)
    for reply in (cors.preflight(asked(origin)), cors.mark(Reply(200, {"x": "y"}), origin)):
        assert reply.headers.get("access-control-allow-origin") == (origin if may else None)
        assert reply.headers["vary"] == "origin"


def test_who_is_no_page_gets_what_it_asked_for_and_nothing_more() -> None:
    assert Cors(CorsPolicy()).mark(Reply(200, {"x": "y"}), None).headers == {"x": "y"}


def test_a_manifest_may_name_everything() -> None:
    policy = CorsPolicy(
        allow_origins=(PAGE,),
        allow_methods=("GET",),
        allow_headers=("X-Trace",),
        allow_credentials=True,
        expose_headers=("X-Trace", "Location"),
        max_age=5,
    )
    assert Cors(policy).preflight(asked()).headers == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "GET",
        "access-control-allow-headers": "x-trace, x-api-key, authorization",
        "access-control-max-age": "5",
        "vary": "origin",
    }
    exposed = Cors(policy).mark(Reply(200), PAGE).headers["access-control-expose-headers"].split(", ")
    assert exposed.count("location") == 1
    assert "x-trace" in exposed


@pytest.mark.parametrize(
    "section", [{"allow_credentials": True}, {"allow_origin_regex": "("}, {"max_age": -1}]
)
def test_a_manifest_that_makes_no_sense_is_refused(section: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CorsPolicy.model_validate(section)
