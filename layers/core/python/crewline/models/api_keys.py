"""API keys: who sends a request, and what it may do."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from dataclasses import dataclass, field
from typing import Final, Literal, Self, get_args

from crewline.errors import Forbidden, InvalidRequest
from crewline.models.users import NOBODY, Rights, Sender

TENANT: Final = "[a-z0-9-]{1,36}"
"""How a tenant is spelled; it has no `#`, which divides the parts of a stored key, and no `_`, which divides these."""

Scope = Literal["read", "run", "admin"]
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
"""What a key may be allowed: to read; to make and change threads and runs; to change assistants and to prune.

None stands for another: a key that may only run cannot read.
"""

Prefix = Literal["crewline", "whk"]
"""How the text of a credential begins: of an API key, and of the token of an incoming webhook."""
_ID: Final = string.ascii_lowercase + string.digits
_ID_LENGTH: Final = 12
_SECRET_BYTES: Final = 32
_SPELLED: Final = re.compile(f"([a-z]+)_({TENANT})_([a-z0-9]{{{_ID_LENGTH}}})_([A-Za-z0-9_-]{{43}})")
"""43 characters of base64 are 32 bytes."""


def parse_scope(text: str) -> Scope:
    """Read the name of a scope.

    Raises:
        InvalidRequest: There is none of this name.
    """
    for scope in SCOPES:
        if text == scope:
            return scope
    raise InvalidRequest(f"There is no scope {text[:60]!r}; the scopes are {', '.join(SCOPES)}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request."""

    tenant: str
    """Whose data the request is about."""
    scopes: frozenset[Scope]
    """What it may do."""
    key_id: str | None = None
    """The API key that came with it; None where none is asked for."""
    senders: tuple[Sender, ...] = (NOBODY,)
    """The user who sends it, for each thing that it asks for: one, but for a batch."""
    rights: Rights | None = None
    """Whom to ask what the user may, where the request alone does not say what it is about; None: whatever the scopes say."""

    @property
    def sender(self) -> Sender:
        """The user who sends a request that asks for one thing."""
        return self.senders[0]

    def require(self, scope: Scope) -> None:
        """Let only a caller pass who may do something.

        Raises:
            Forbidden: It may not.
        """
        if scope not in self.scopes:
            has = ", ".join(one for one in SCOPES if one in self.scopes)
            raise Forbidden(
                f"This needs a key with scope {scope}; key {self.key_id} has {has}. "
                f"`crewline keys create --tenant {self.tenant} --scope {scope}` makes one."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a client sends: the text of an API key, or of a webhook's token, taken apart."""

    tenant: str
    key_id: str
    secret: str = field(repr=False)
    prefix: Prefix = "crewline"

    @classmethod
    def draw(cls, tenant: str, *, prefix: Prefix = "crewline", key_id: str | None = None) -> Self:
        """Make a new one, whose secret has 256 random bits; with a new id, unless it is to succeed another."""
        key_id = key_id or "".join(secrets.choice(_ID) for _ in range(_ID_LENGTH))
        return cls(tenant=tenant, key_id=key_id, secret=secrets.token_urlsafe(_SECRET_BYTES), prefix=prefix)

    @classmethod
    def parse(cls, text: str, *, prefix: Prefix = "crewline") -> Self | None:
        """Read the text of one that begins so; None when it is none."""
        found = _SPELLED.fullmatch(text)
        if found is None or found[1] != prefix:
            return None
        return cls(tenant=found[2], key_id=found[3], secret=found[4], prefix=prefix)

    def spell(self) -> str:
        """Give the text by which a client sends it."""
        return "_".join((self.prefix, self.tenant, self.key_id, self.secret))

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the secret, which is what is stored.

        Slow hashes make guessing dear where people choose; nobody guesses 256 random bits.
        """
        return hashlib.sha256(self.secret.encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key as it is kept: all but its secret."""

    tenant: str
    key_id: str
    scopes: frozenset[Scope]
    label: str
    """What its maker calls it."""
    created_at: str
    revoked_at: str | None = None
    """Since when it opens nothing any more."""

    @property
    def caller(self) -> Caller:
        """Who a client is that sends it."""
        return Caller(tenant=self.tenant, scopes=self.scopes, key_id=self.key_id)
