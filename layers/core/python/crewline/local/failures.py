"""Why the local service does not run."""

from __future__ import annotations

from crewline.errors import CrewlineError


class LocalServiceError(CrewlineError):
    """The local service cannot start here, or cannot go on; the message says what to change."""

    code = "local_service"
