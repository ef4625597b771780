"""Webhooks as a project allows them: where they may go, and what they carry along."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from crewline.errors import BadManifest, InvalidRequest
from crewline.models.addresses import is_permitted

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_LONGEST_NAME: Final = 253
_PRINTABLE: Final = re.compile(r"[!-~]+")
_LABEL: Final = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NUMBER: Final = re.compile(r"\d+|0x[0-9a-f]*")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[\t -~]*")
_TEMPLATE: Final = re.compile(r"\$\{\{\s*env\.(\w+)\s*\}\}")
_OURS: Final = re.compile(
    r"(webhook|x-crewship)-.*|host|connection|content-.*|expect|te|trailer|transfer-encoding|upgrade",
    re.IGNORECASE,
)
"""Headers that a project cannot set: they sign the message, or delimit it on the wire."""


class UrlPolicy(BaseModel):
    """Which URLs may get webhooks, spelled as LangGraph does."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    require_https: bool = True
    """Refuse plain http."""
    disable_loopback: bool = True
    """Refuse this machine; of the addresses that are not public, only the loopback can be permitted."""
    allowed_domains: tuple[str, ...] = ()
    """Hosts, and `*.` before a domain for all below it but not itself; any public host when empty."""
    allowed_ports: tuple[Annotated[int, Field(ge=1, le=65_535)], ...] = ()
    """Ports; when empty the scheme's own, and any of this machine where that is permitted."""
    max_url_length: Annotated[int, Field(ge=1)] = 2048

    @field_validator("allowed_domains")
    @classmethod
    def _domains(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        domains = tuple(domain.lower().rstrip(".") for domain in value)
        for domain in domains:
            if not _NAME.fullmatch(domain.removeprefix("*.")):
                raise ValueError(f"{domain!r} is neither a host nor '*.' and a domain")
        return domains

    def allows(self, host: str) -> bool:
        """Tell whether a host is one of the allowed domains."""
        return not self.allowed_domains or any(
            host.endswith(domain[1:]) if domain.startswith("*.") else host == domain
            for domain in self.allowed_domains
        )


class WebhookPolicy(BaseModel):
    """The section `webhooks` of a manifest."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    env_prefix: Annotated[str, Field(min_length=1)] = "LG_WEBHOOK_"
    """How the names of variables begin that headers may refer to: no other secret can be sent out."""
    url: UrlPolicy = UrlPolicy()
    headers: Mapping[str, str] = Field(default_factory=dict)
    """Sent with every webhook; `${{ env.NAME }}` in a value stands for a variable."""

    @model_validator(mode="after")
    def _headers(self) -> WebhookPolicy:
        for name, value in self.headers.items():
            if not _HEADER.fullmatch(name) or _OURS.fullmatch(name):
                raise ValueError(f"headers: {name!r} cannot be set")
            if not _HEADER_VALUE.fullmatch(value) or "${{" in _TEMPLATE.sub("", value):
                raise ValueError(f"headers: the value of {name} must be text and '${{{{ env.NAME }}}}'")
            for variable in _TEMPLATE.findall(value):
                if not variable.startswith(self.env_prefix):
                    raise ValueError(
                        f"headers: {name} refers to {variable}, which does not begin with {self.env_prefix}"
                    )
        return self

    def deployed(self) -> WebhookPolicy:
        """Give the policy of a deployment: the loopback of a function is that of Lambda's own services."""
        return self.model_copy(update={"url": self.url.model_copy(update={"disable_loopback": True})})

    def resolve_headers(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Put the variables into the headers.

        Args:
            environ: The environment of the process that sends.

        Returns:
            Name in lower case → value.

        Raises:
            BadManifest: A variable is not set, or a header cannot carry its value.
        """
        resolved: dict[str, str] = {}
        for name, value in self.headers.items():
            if missing := [one for one in _TEMPLATE.findall(value) if one not in environ]:
                raise BadManifest(f"The webhook header {name} needs {', '.join(missing)} in the environment.")
            filled = _TEMPLATE.sub(lambda found: environ[found[1]], value)
            if not _HEADER_VALUE.fullmatch(filled):  # never repeated: it may be a secret
                raise BadManifest(
                    f"The webhook header {name} would have characters that no header can carry."
                )
            resolved[name.lower()] = filled
        return resolved


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a webhook goes, taken from its URL."""

    secure: bool
    host: str
    """A name, or an IP address without brackets."""
    port: int
    path: str
    """Path and query, as they came."""


def check_url(url: str, policy: WebhookPolicy) -> Target:
    """Check a webhook's URL as far as that can be done without resolving its host.

    What the host resolves to is checked at every delivery.

    Args:
        url: The URL as the client sent it; it may hold secrets, so no message repeats it.
        policy: The project's policy.

    Returns:
        Where the webhook goes.

    Raises:
        InvalidRequest: The policy does not allow it.
    """
    rules = policy.url
    if len(url) > rules.max_url_length:
        raise InvalidRequest(f"The webhook's URL has {len(url)} characters, {rules.max_url_length} at most.")
    # Before parsing: urlsplit drops line breaks, and a backslash means a slash to some.
    if not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise InvalidRequest("The webhook's URL must be ASCII without spaces: percent-encode it.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidRequest("The webhook's URL cannot be parsed.") from None
    schemes = ("https",) if rules.require_https else ("https", "http")
    if parts.scheme not in schemes:
        raise InvalidRequest(f"The webhook's URL must begin with {' or '.join(f'{s}://' for s in schemes)}.")
    if "@" in parts.netloc:
        raise InvalidRequest("The webhook's URL must not hold a user name or password.")
    port = _DEFAULT_PORTS[parts.scheme] if port is None else port
    host = _host(parts)
    own = not rules.disable_loopback and _is_loopback(host)
    if port not in (rules.allowed_ports or ((port,) if own else (_DEFAULT_PORTS[parts.scheme],))):
        raise InvalidRequest(f"Webhooks may not go to port {port}.")
    if not rules.allows(host) or not _plausible(host, loopback=not rules.disable_loopback):
        raise InvalidRequest(f"Webhooks may not go to the host {host}.")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(secure=parts.scheme == "https", host=host, port=port, path=path)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").removesuffix(".")
    if "[" in parts.netloc:
        try:
            if "%" not in host:  # a zone names an interface of this machine
                return str(IPv6Address(host))
        except AddressValueError:
            pass
        raise InvalidRequest("The host of the webhook's URL is no IPv6 address.")
    if not _NAME.fullmatch(host) or len(host) > _LONGEST_NAME:
        raise InvalidRequest("The webhook's URL has no valid host.")
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        try:
            return str(IPv4Address(host))
        except AddressValueError:  # 127.1, 0x7f.1 and the like, which resolvers read as addresses
            raise InvalidRequest("The host of the webhook's URL is no IPv4 address.") from None
    return host


def _plausible(host: str, *, loopback: bool) -> bool:
    """Tell whether a host can resolve to a permitted address: certain for an address, a first look for a name."""
    if ":" in host or host.rpartition(".")[2].isdigit():
        return is_permitted(host, loopback=loopback)
    return loopback or not (host == "localhost" or host.endswith(".localhost"))
