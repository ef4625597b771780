"""How commands fail: one line on standard error, and an exit code that scripts can rely on."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from crewline import errors


class ExitCode(IntEnum):
    """What a command that did not succeed ends with."""

    RUN_FAILED = 1
    USAGE = 2
    """The command line, its JSON, a file or a project is not as it must be."""
    NOT_FOUND = 3
    CONFLICT = 4
    AUTHENTICATION = 5
    """No key, a wrong one, or one that lacks a scope."""
    UNAVAILABLE = 6
    """The service is down, overloaded or broken."""
    INTERRUPTED = 130
    """Ctrl-C; what every shell says of a program that a signal has ended."""


class CliError(errors.CrewlineError):
    """What ends a command.

    Args:
        message: What happened and what to do about it; becomes one line.
        exit_code: What the command ends with.
    """

    code = "command_failed"

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.USAGE) -> None:
        super().__init__(message)
        self.exit_code = exit_code


_EXIT_CODES: Final[dict[type[errors.CrewlineError], ExitCode]] = {
    errors.NotFound: ExitCode.NOT_FOUND,
    errors.Conflict: ExitCode.CONFLICT,
    errors.Unauthenticated: ExitCode.AUTHENTICATION,
    errors.Forbidden: ExitCode.AUTHENTICATION,
    errors.Unavailable: ExitCode.UNAVAILABLE,
    errors.LimitExceeded: ExitCode.UNAVAILABLE,
}
"""Error class → exit code; a subclass takes that of its nearest listed base, any other is the user's to repair."""

_STATUSES: Final = {
    401: ExitCode.AUTHENTICATION,
    403: ExitCode.AUTHENTICATION,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.CONFLICT,
    429: ExitCode.UNAVAILABLE,
}
_FIRST_OF_SERVER: Final = 500


def exit_code_of(error: errors.CrewlineError) -> ExitCode:
    """Choose what a command ends with that an error has ended."""
    if isinstance(error, CliError):
        return error.exit_code
    found = (_EXIT_CODES[base] for base in type(error).__mro__ if base in _EXIT_CODES)
    return next(found, ExitCode.USAGE)


def exit_code_of_status(status: int) -> ExitCode:
    """Choose what a command ends with that a service has refused.

    Args:
        status: The HTTP status of the answer.
    """
    if status >= _FIRST_OF_SERVER:
        return ExitCode.UNAVAILABLE
    return _STATUSES.get(status, ExitCode.USAGE)
