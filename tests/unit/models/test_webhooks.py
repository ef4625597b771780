"""A webhook's URL is checked before a run is accepted, and no message repeats what may be secret in it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from crewline.errors import BadManifest, InvalidRequest
from crewline.models.webhooks import Target, WebhookPolicy, check_url

SECRET = "hunter2"
LOCAL = {"require_https": False, "disable_loopback": False, "allowed_ports": [8000]}


def policy(**url: Any) -> WebhookPolicy:
    return WebhookPolicy.model_validate({"url": url})


def check(url: str, **rules: Any) -> Target:
    return check_url(url, policy(**rules))


def test_a_url_names_host_port_and_path_with_its_query_as_it_came() -> None:
    assert check(f"https://Hooks.Example.com/a%20b//c?token={SECRET}&x=%2F&x=#top") == Target(
        secure=True, host="hooks.example.com", port=443, path=f"/a%20b//c?token={SECRET}&x=%2F&x="
    )


@pytest.mark.parametrize("url", ["https://example.com", "https://example.com.", "https://EXAMPLE.com:443/"])
def test_a_url_may_be_spelled_shorter_or_longer(url: str) -> None:
    assert check(url) == Target(secure=True, host="example.com", port=443, path="/")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://8.8.8.8/x", "8.8.8.8"),
        ("https://[2606:4700:0::1111]/x", "2606:4700::1111"),
        ("https://xn--bcher-kva.example/x", "xn--bcher-kva.example"),
        ("https://a_b.example/x", "a_b.example"),
        ("https://localhost.example.com/x", "localhost.example.com"),
    ],
)
def test_a_host_may_be_a_public_address_or_any_name(url: str, host: str) -> None:
    assert check(url).host == host


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "must be ASCII"),
        ("/runs", "must begin with https://"),
        ("//example.com/", "must begin with https://"),
        ("http://example.com/", "must begin with https://"),
        ("ftp://example.com/", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        ("https:///path", "no valid host"),
        ("https://", "no valid host"),
        ("https:example.com", "no valid host"),
        ("https://user@example.com/", "user name or password"),
        (f"https://user:{SECRET}@example.com/", "user name or password"),
        ("https://example.com@127.0.0.1/", "user name or password"),
        ("https://example.com:8443/", "port 8443"),
        ("https://example.com:80/", "port 80"),
        ("https://example.com:0/", "port 0"),
        ("https://example.com:99999/", "cannot be parsed"),
        ("https://example.com:x/", "cannot be parsed"),
        ("https://[::1/", "cannot be parsed"),
        ("https://exa mple.com/", "must be ASCII"),
        ("https://example.com/\r\nHost: x", "must be ASCII"),
        ("https://exam\tple.com/", "must be ASCII"),
        ("https://example.com\\@127.0.0.1/", "must be ASCII"),
        ("https://bücher.example/", "must be ASCII"),
        ("https://exämple.com/\u2028", "must be ASCII"),
        ("https://ex%61mple.com/", "no valid host"),
        ("https://-example.com/", "no valid host"),
        ("https://a..b/", "no valid host"),
        (f"https://{'a' * 64}.com/", "no valid host"),
        (f"https://{'a.' * 130}com/", "no valid host"),
        ("https://localhost/", "host localhost"),
        ("https://LOCALHOST./", "host localhost"),
        ("https://a.localhost/", "host a.localhost"),
        ("https://127.0.0.1/", "host 127.0.0.1"),
        ("https://127.1/", "no IPv4 address"),
        ("https://2130706433/", "no IPv4 address"),
        ("https://0x7f.0.0.0x1/", "no IPv4 address"),
        ("https://0177.0.0.1/", "no IPv4 address"),
        ("https://10.0.0.1/", "host 10.0.0.1"),
        ("https://169.254.169.254/latest/meta-data", "host 169.254.169.254"),
        ("https://[::1]/", "host ::1"),
        ("https://[::ffff:127.0.0.1]/", "host ::ffff:"),
        ("https://[64:ff9b::7f00:1]/", "host 64:ff9b::7f00:1"),
        ("https://[fe80::1%25eth0]/", "no IPv6 address"),
        ("https://[v1.x]/", "no IPv6 address"),
        (f"https://example.com/{'x' * 2048}", "2068 characters, 2048 at most"),
    ],
)
def test_what_is_refused_is_said_in_one_sentence(url: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(url)
    assert sentence in caught.value.message
    assert caught.value.message.endswith(".")
    assert SECRET not in caught.value.message


def test_plain_http_is_permitted_by_the_project_alone() -> None:
    assert check("http://example.com/", require_https=False) == Target(
        secure=False, host="example.com", port=80, path="/"
    )
    assert check("https://example.com/", require_https=False).secure


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "a.localhost"])
def test_this_machine_is_permitted_by_the_project_alone(host: str) -> None:
    assert check(f"http://{host}:8000/", **LOCAL).port == 8000
    assert check(f"https://{host}/", disable_loopback=False).secure


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "169.254.169.254", "[fe80::1]", "[::ffff:127.0.0.1]", "0.0.0.0"]
)
def test_a_project_cannot_permit_other_private_addresses(host: str) -> None:
    with pytest.raises(InvalidRequest, match="may not go to the host"):
        check(f"http://{host}:8000/", **LOCAL)


def test_named_ports_replace_the_default() -> None:
    assert check("https://example.com:8443/", allowed_ports=[8443]).port == 8443
    with pytest.raises(InvalidRequest, match="port 443"):
        check("https://example.com/", allowed_ports=[8443])


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("hooks.example.com", True),
        ("HOOKS.example.com", True),
        ("a.corp.test", True),
        ("a.b.corp.test", True),
        ("corp.test", False),
        ("notcorp.test", False),
        ("example.com", False),
        ("a.hooks.example.com", False),
        ("8.8.8.8", False),
    ],
)
def test_a_wildcard_stands_for_subdomains_and_not_for_the_domain(host: str, allowed: bool) -> None:
    rules = policy(allowed_domains=["Hooks.example.com", "*.corp.test"])
    if allowed:
        assert check_url(f"https://{host}/", rules).host == host.lower()
    else:
        with pytest.raises(InvalidRequest, match="may not go to the host"):
            check_url(f"https://{host}/", rules)


def test_a_url_is_as_long_as_the_project_permits() -> None:
    with pytest.raises(InvalidRequest, match="20 characters, 19 at most"):
        check("https://example.com/", max_url_length=19)


# ------------------------------------------------------------------ headers


def test_headers_may_hold_variables_of_their_own_prefix() -> None:
    found = WebhookPolicy(headers={"Authorization": "Bearer ${{ env.LG_WEBHOOK_TOKEN }}", "X-App": "crews"})
    assert found.resolve_headers({"LG_WEBHOOK_TOKEN": SECRET}) == {
        "authorization": f"Bearer {SECRET}",
        "x-app": "crews",
    }


def test_a_project_may_choose_the_prefix() -> None:
    found = WebhookPolicy(env_prefix="HOOK_", headers={"X-A": "${{env.HOOK_A}}-${{ env.HOOK_B }}"})
    assert found.resolve_headers({"HOOK_A": "1", "HOOK_B": "2"}) == {"x-a": "1-2"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"headers": {"X-A": "${{ env.AWS_SECRET_ACCESS_KEY }}"}}, "does not begin with LG_WEBHOOK_"),
        ({"headers": {"X-A": "${{ secrets.A }}"}}, "must be text"),
        ({"headers": {"X-A": "a\r\nHost: b"}}, "must be text"),
        ({"headers": {"X-A": "ü"}}, "must be text"),
        ({"headers": {"X A": "a"}}, "cannot be set"),
        ({"headers": {"": "a"}}, "cannot be set"),
        ({"headers": {"Host": "a"}}, "cannot be set"),
        ({"headers": {"content-LENGTH": "5"}}, "cannot be set"),
        ({"headers": {"Webhook-Signature": "v1,x"}}, "cannot be set"),
        ({"headers": {"X-Crewship-Event": "x"}}, "cannot be set"),
        ({"env_prefix": ""}, "at least 1 character"),
        ({"url": {"allowed_domains": ["*"]}}, "neither a host"),
        ({"url": {"allowed_domains": ["https://example.com"]}}, "neither a host"),
        ({"url": {"allowed_ports": [0]}}, "greater than or equal to 1"),
        ({"url": {"max_url_length": 0}}, "greater than or equal to 1"),
    ],
)
def test_a_policy_that_cannot_be_is_refused_when_it_is_read(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        WebhookPolicy.model_validate(fields)


def test_a_variable_that_is_not_set_is_named() -> None:
    with pytest.raises(BadManifest, match="x-a needs LG_WEBHOOK_A in the environment"):
        WebhookPolicy(headers={"x-a": "${{ env.LG_WEBHOOK_A }}"}).resolve_headers({})


def test_a_variable_cannot_bring_another_header_along() -> None:
    found = WebhookPolicy(headers={"x-a": "${{ env.LG_WEBHOOK_A }}"})
    with pytest.raises(BadManifest, match="no header can carry") as caught:
        found.resolve_headers({"LG_WEBHOOK_A": f"{SECRET}\r\nHost: b"})
    assert SECRET not in caught.value.message


def test_this_machine_is_reached_on_any_port_where_it_is_permitted() -> None:
    permitted = {"require_https": False, "disable_loopback": False}
    assert check("http://127.0.0.1:49152/hook", **permitted).port == 49152
    with pytest.raises(InvalidRequest, match="port 49152"):
        check("http://example.com:49152/hook", **permitted)


def test_a_deployment_permits_no_loopback_whatever_the_project_says() -> None:
    policy = WebhookPolicy.model_validate({"url": {"disable_loopback": False}})
    assert policy.deployed().url.disable_loopback
