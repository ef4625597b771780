"""Under which address a client has reached the service: behind a stage, a domain, or somebody in front."""

from __future__ import annotations

import pytest

from crewline.http.a2a.cards import root_of

HOST = {"host": "api.example.com", "x-forwarded-proto": "https"}


@pytest.mark.parametrize(
    ("path", "whole", "headers", "root"),
    [
        ("/a2a/x", "/prod/a2a/x", HOST, "https://api.example.com/prod"),
        ("/a2a/x", "/a2a/x", HOST, "https://api.example.com"),
        ("/a2a/x", "/crews/v2/a2a/x", HOST, "https://api.example.com/crews/v2"),
        ("/a2a/x", "/elsewhere", HOST, "https://api.example.com"),
        ("/a2a/x", "/a2a/x", {"host": "127.0.0.1:9", "x-forwarded-proto": "http"}, "http://127.0.0.1:9"),
        (
            "/a2a/x",
            "/prod/a2a/x",
            {**HOST, "x-forwarded-host": "chat.example.com"},
            "https://chat.example.com",
        ),
        (
            "/a2a/x",
            "/prod/a2a/x",
            {**HOST, "x-forwarded-host": "example.com", "x-forwarded-prefix": "/crews/"},
            "https://example.com/crews",
        ),
    ],
)
def test_the_address_is_that_of_the_request(
    path: str, whole: str, headers: dict[str, str], root: str
) -> None:
    assert root_of({"path": path, "requestContext": {"path": whole}}, headers) == root
