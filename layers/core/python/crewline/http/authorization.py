"""The one gate through which a user's request goes, where a project has its own authentication.

Every route has a rule, which asks the project's handlers about what the request is for. What they say acts in three
ways: what they put into the request goes on with it; what is listed is narrowed to what the user may see; and
a thing that the user may not see is looked for where nothing is, so that the route answers as for one that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

from crewline.errors import Forbidden
from crewline.http.authentication import NEEDED
from crewline.http.authorities import Authority, Credentials
from crewline.http.grants import Asked
from crewline.http.resolvers import read_query, spell_query
from crewline.http.rules.table import RULES
from crewline.models.api_keys import Caller
from crewline.models.users import Sender
from crewline.services.assistants import Assistants
from crewline.services.runs import Runs
from crewline.services.threads import Threads

VEIL: Final = str(uuid4())
"""A tenant that nobody is, drawn by this process, so that it has nothing."""


class Gate:
    """Lets users' requests pass, as far as a project's handlers let them; safe for many threads.

    Args:
        authority: The project's own authentication.
        tenant: Whose data users' requests are about.
        threads: The threads.
        runs: The runs.
        assistants: The assistants.
    """

    def __init__(
        self, authority: Authority, tenant: str, *, threads: Threads, runs: Runs, assistants: Assistants
    ) -> None:
        self._authority = authority
        self._tenant = tenant
        self._threads = threads
        self._runs = runs
        self._assistants = assistants

    def watches(self, place: tuple[str, str] | None) -> bool:
        """Tell whether a route, or what is none, is for known users alone."""
        return place is None or NEEDED.get(place, "admin") is not None

    def admit(
        self,
        place: tuple[str, str] | None,
        event: Mapping[str, Any],
        headers: Mapping[str, str],
        read: Callable[[], Any],
    ) -> tuple[Caller, Mapping[str, Any], Any]:
        """Let a request pass.

        Args:
            place: Its route; None when there is none for it.
            event: An API Gateway REST proxy event.
            headers: Those of the request, by lower-case name.
            read: Reads its body; not before its sender is known, unless that is what says so.

        Returns:
            Who sends it, and the event and the body as they are to be answered.

        Raises:
            Denied: The project's code refuses it in its own way.
            Unauthenticated: It does not know who sends it.
            Forbidden: It does not let the user do this, or nothing says who may.
            NotFound: It is about something that the user may not see.
            InvalidRequest: What it asks for cannot be read.
            Unavailable: The project's code, or DynamoDB, did not answer.
        """
        body = read() if self._authority.wants_body else None
        path = params_of(place[1], event["path"]) if place else {}
        user = self._authority.authenticate(
            Credentials(
                method=event["httpMethod"],
                path=event["path"],
                headers=headers,
                path_params=path,
                query_params=event.get("queryStringParameters") or {},
                body=body,
            )
        )
        body = body if self._authority.wants_body else read()
        caller = Caller(tenant=self._tenant, scopes=frozenset(("read", "run", "admin")))
        caller = replace(caller, senders=(Sender(user=user),))
        if place is None:
            return caller, event, body  # there is nothing to be had
        rule = RULES.get(place)
        if rule is None:
            raise Forbidden(f"Nothing says which users may use {' '.join(place)}.")
        asked = Asked(
            user=user,
            authority=self._authority,
            tenant=self._tenant,
            threads=self._threads,
            runs=self._runs,
            assistants=self._assistants,
            path=path,
            query=read_query(event),
            body=body,
        )
        granted = rule(asked)
        caller = replace(
            caller,
            senders=tuple(replace(one, user=user) for one in granted.senders),
            tenant=self._tenant if granted.visible else VEIL,
            rights=granted.rights,
        )
        return caller, {**event, **spell_query(granted.query or asked.query)}, granted.body


def params_of(template: str, path: str) -> dict[str, str]:
    """Read what a path has in the places that its route names in braces."""
    parts = zip(template.split("/"), path.split("/"), strict=False)
    return {name[1:-1]: text for name, text in parts if name.startswith("{")}
