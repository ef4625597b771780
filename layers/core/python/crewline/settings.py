"""What a process is told by its environment, read once.

The names in `VARIABLES` are shared with the constructs (`crewline_cdk` builds a function's
environment with `environment()`), so that a typo fails a test and not a deployment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import ip_address
from typing import Final, Literal, get_args
from urllib.parse import urlsplit

from crewline.errors import BadManifest

VARIABLES: Final[Mapping[str, str]] = {
    "table": "CREWLINE_TABLE",
    "bucket": "CREWLINE_BUCKET",
    "run_queue_url": "CREWLINE_RUN_QUEUE_URL",
    "dead_letter_url": "CREWLINE_DEAD_LETTER_URL",
    "webhook_queue_url": "CREWLINE_WEBHOOK_QUEUE_URL",
    "intake_dead_letter_url": "CREWLINE_INTAKE_DEAD_LETTER_URL",
    "event_dead_letter_url": "CREWLINE_EVENT_DEAD_LETTER_URL",
    "workflow_arn": "CREWLINE_WORKFLOW_ARN",
    "event_bus": "CREWLINE_EVENT_BUS",
    "crew_function": "CREWLINE_CREW_FUNCTION",
    "schedule_group": "CREWLINE_SCHEDULE_GROUP",
    "schedule_role": "CREWLINE_SCHEDULE_ROLE",
    "schedule_function": "CREWLINE_SCHEDULE_FUNCTION",
    "schedule_dead_letters": "CREWLINE_SCHEDULE_DEAD_LETTERS",
    "manifest": "CREWLINE_MANIFEST",
    "tenant": "CREWLINE_TENANT",
    "log_level": "CREWLINE_LOG_LEVEL",
    "max_body_bytes": "CREWLINE_MAX_BODY_BYTES",
    "longest_run_s": "CREWLINE_LONGEST_RUN_SECONDS",
    "most_slices": "CREWLINE_MOST_SLICES",
    "leaving_seen": "CREWLINE_LEAVING_SEEN",
    "authentication": "CREWLINE_AUTHENTICATION",
    "build": "CREWLINE_BUILD",
    "stage": "CREWLINE_STAGE",
    "langgraph": "CREWLINE_LANGGRAPH_VERSION",
    "deployment": "CREWLINE_DEPLOYMENT",
    "measures": "CREWLINE_MEASURES",
}
"""Field of `Settings` → name of the environment variable that carries it."""
ENDPOINT: Final = "AWS_ENDPOINT_URL"
"""The variable by which AWS's SDKs are told that AWS is a local cloud."""
_TRUTHS: Final = {"true": True, "false": False}

UNDEPLOYED: Final = "0" * 32
"""The build of what was never deployed: a project on a laptop, which changes while it runs."""
_BUILD: Final = re.compile("[0-9a-f]{32}")

Authentication = Literal["keys", "open"]
Stage = Literal["production", "staging"]
"""What a deployment is for; the environment that a request may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The whole configuration of one process."""

    table: str
    """Name of the DynamoDB table."""
    bucket: str
    """Name of the S3 bucket for large values."""
    run_queue_url: str
    """URL of the SQS queue through which background runs reach the worker."""
    manifest: str
    """Path of the project's langgraph.json."""
    dead_letter_url: str = ""
    """URL of the SQS queue for messages that the worker could not handle; only the sweeper needs it."""
    webhook_queue_url: str = ""
    """URL of the SQS queue for webhooks to deliver; without it none is sent."""
    intake_dead_letter_url: str = ""
    """URL of the SQS queue for messages of the intake queue that can never become runs; only the intake needs it."""
    event_dead_letter_url: str = ""
    """URL of the SQS queue for events that can never become runs; only the intake needs it."""
    workflow_arn: str = ""
    """ARN of the state machine in which runs go on that outlive an invocation."""
    event_bus: str = ""
    """Name or ARN of the EventBridge bus that is told of every run; without it no event is written or sent."""
    crew_function: str = ""
    """Name of the function that has the crews, with its alias; only the control plane hands requests over to it."""
    schedule_group: str = ""
    """Name of the group of EventBridge Scheduler that has the schedules of crons."""
    schedule_role: str = ""
    """ARN of the role in which schedules invoke a function; only who makes schedules needs it."""
    schedule_function: str = ""
    """ARN of the function that takes in what schedules say; only who makes schedules needs it."""
    schedule_dead_letters: str = ""
    """ARN of the SQS queue for what schedules could not deliver; only who makes schedules needs it."""
    tenant: str = "default"
    """The tenant of messages and events that name none, and of all callers where nobody is asked for a key;
    `[a-z0-9-]{1,36}`."""
    log_level: str = "INFO"
    """Level of the structured logs."""
    max_body_bytes: int = 6_000_000
    """A larger request body is answered with 413; below what a Lambda invocation can carry."""
    longest_run_s: int = 21_600
    """A run that takes longer, from its first claim on, ends with status `timeout`."""
    most_slices: int = 3_000
    """Slices of one execution of the workflow, after which the next one begins: each is about 7 events, of the
    25,000 that the history of an execution may have."""
    leaving_seen: bool = True
    """Whether a client that leaves is seen; behind API Gateway it is not."""
    authentication: Authentication = "keys"
    """Whether every request needs an API key, or, beside a local cloud alone, none does (`open`)."""
    build: str = UNDEPLOYED
    """The digest of all that was deployed, 32 hex digits: what `services.versions` numbers."""
    stage: Stage = "production"
    """What the deployment is for."""
    langgraph: str = ""
    """The version of LangGraph that the crews have, which only the control plane has to be told; without it,
    nobody knows."""
    deployment: str = "crewline"
    """What the deployment is called among those of an account: its metrics have the name."""
    measures: bool = True
    """Whether functions print what they measure; on a laptop nobody makes metrics of it."""


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read `Settings` from an environment.

    Args:
        environ: Usually `os.environ`.

    Returns:
        The settings, with defaults for what is optional.

    Raises:
        BadManifest: A variable without a default is missing, one has a value that it cannot have, or nobody
            would be asked for a key elsewhere than beside a local cloud.
    """
    values: dict[str, str | int | bool] = {}
    for field in fields(Settings):
        name = VARIABLES[field.name]
        if not (text := environ.get(name)):
            continue
        if field.type == "int":
            if not (text.isascii() and text.isdigit()):
                raise BadManifest(f"The environment variable {name} must be a number, not {text!r}.")
            values[field.name] = int(text)
        elif field.type == "bool":
            if text not in _TRUTHS:
                raise BadManifest(f"The environment variable {name} must be true or false, not {text!r}.")
            values[field.name] = _TRUTHS[text]
        else:
            values[field.name] = text
    required = ("table", "bucket", "run_queue_url", "manifest")
    if missing := [VARIABLES[name] for name in required if name not in values]:
        raise BadManifest(
            f"The environment lacks {', '.join(missing)}; the stack and `crewline dev` set these for every function."
        )
    settings = Settings(**values)  # type: ignore[arg-type]
    _check_choice("stage", settings.stage, get_args(Stage))
    _check_authentication(settings.authentication, environ)
    if not _BUILD.fullmatch(settings.build):
        raise BadManifest(
            f"The environment variable {VARIABLES['build']} must be 32 hex digits, not {settings.build!r}."
        )
    return settings


def environment(**values: str | int) -> dict[str, str]:
    """Spell settings as environment variables; the inverse of `read_settings`.

    Args:
        values: Fields of `Settings` by name.

    Returns:
        Variable name → text.

    Raises:
        KeyError: A name is no field of `Settings`.
    """
    return {
        VARIABLES[name]: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in values.items()
    }


def beside_local_cloud(environ: Mapping[str, str]) -> bool:
    """Tell whether AWS is a local cloud on this machine: what is for a laptop alone asks for this, and nothing else.

    Args:
        environ: Usually `os.environ`.
    """
    try:
        host = urlsplit(environ.get(ENDPOINT, "")).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _check_choice(field: str, chosen: str, allowed: tuple[str, ...]) -> None:
    if chosen not in allowed:
        raise BadManifest(
            f"The environment variable {VARIABLES[field]} must be {' or '.join(allowed)}, not {chosen!r}."
        )


def _check_authentication(chosen: str, environ: Mapping[str, str]) -> None:
    _check_choice("authentication", chosen, get_args(Authentication))
    name = VARIABLES["authentication"]
    if chosen == "open" and not beside_local_cloud(environ):
        raise BadManifest(
            f"{name}=open lets anybody do everything, so it needs {ENDPOINT} to be a local cloud on this machine; "
            "leave the variable out, and make keys with `crewline keys create`."
        )
