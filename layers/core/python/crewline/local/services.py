"""The whole local service, composed: state, cloud, stack, functions, front door."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crewline import locations
from crewline.local import bundles, clouds, handlers, invocations, servers, stacks, states, templates
from crewline.local.failures import LocalServiceError
from crewline.local.frontdoor import Answer, FrontDoor
from crewline.models.cors import LOOPBACK
from crewline.models.manifests import FILENAME, Manifest, project_environment, read_manifest
from crewline.settings import UNDEPLOYED, environment, read_settings

_ANSWERING: Final = ("api", "crew", "tail")
_CONSUMING: Final = ("worker", "sweeper", "intake")

_STRICT: Final = {"LANGGRAPH_STRICT_MSGPACK": "true"}
"""LangGraph reads it when it is imported; lax deserialisation has been remote code execution."""


@dataclass(frozen=True, slots=True)
class LocalService:
    """A running local service."""

    url: str
    """Where its HTTP API is."""
    manifest: Manifest
    """The project that it serves."""
    state: states.StateFolder
    """Where it keeps its state and logs."""
    cloud: clouds.LocalCloud
    """The local cloud under it."""
    intake_queue_url: str
    """Where messages are sent that become runs, on the local cloud."""


@contextmanager
def serve(
    project: Path,
    *,
    state: Path,
    port: int = 0,
    event_bus: str = "",
    functions: Path = locations.FUNCTIONS,
    template: Path = locations.TEMPLATE,
) -> Iterator[LocalService]:
    """Serve a project on this machine, in this process and one for the local cloud.

    For as long as it serves, this process has the environment and the working folder of a function.

    Args:
        project: The folder of the project's `langgraph.json`.
        state: The folder for state and logs; made if need be.
        port: Port on loopback; 0 for any free one.
        event_bus: Name of a bus on the local cloud that is told of every run; made if need be.
        functions: The folder of the functions' entry points.
        template: The stack to deploy.

    Yields:
        The service; everything it started has ended when the block is left.

    Raises:
        BadManifest: The manifest cannot be read.
        CrewFailedToLoad: A crew of the project raised while it was imported.
        LocalServiceError: The port or the state folder is in use, or the local cloud does not come up.
    """
    manifest = read_manifest(project.resolve() / FILENAME)
    variables = _project_variables(manifest)
    with ExitStack() as stack:
        listener = stack.enter_context(servers.listen(port))
        folder = stack.enter_context(states.held(state.resolve()))
        # First of all: with the caller's AWS profile no client could be made.
        stack.enter_context(_own_environment())
        cloud = stack.enter_context(clouds.running(folder))
        if event_bus:
            stacks.make_bus(cloud, event_bus)
        own = {**_STRICT, **(environment(event_bus=event_bus) if event_bus else {})}
        outputs = _deploy(cloud, manifest, variables, own, functions=functions, template=template)
        os.environ.update({**variables, **own, **_settings(outputs, manifest), **cloud.environment})
        stack.enter_context(chdir(manifest.folder))
        answers: dict[str, Answer] = {}
        os.environ["AWS_ENDPOINT_URL_LAMBDA"] = stack.enter_context(invocations.served(answers))
        answers |= handlers.load_answers(functions, _ANSWERING)
        door = FrontDoor(
            answers,
            max_body_bytes=read_settings(os.environ).max_body_bytes,
            cors=manifest.cors or LOOPBACK,
        )
        url = f"http://{clouds.LOOPBACK}:{listener.getsockname()[1]}"
        stack.enter_context(servers.serving(door, listener))
        stack.enter_context(_announced(folder, url))
        yield LocalService(url, manifest, folder, cloud, outputs.intake_queue_url)


def _project_variables(manifest: Manifest) -> dict[str, str]:
    # AWS on a laptop is the local cloud, whatever account the project means elsewhere.
    return {
        name: value for name, value in project_environment(manifest).items() if not name.startswith("AWS_")
    }


def _deploy(
    cloud: clouds.LocalCloud,
    manifest: Manifest,
    variables: Mapping[str, str],
    own: Mapping[str, str] = _STRICT,
    *,
    functions: Path,
    template: Path,
) -> stacks.Outputs:
    code = {
        name: bundles.function_bundle(functions / name, manifest.folder)
        for name in (*_ANSWERING, *_CONSUMING)
    }
    layer = bundles.layer_bundle()
    localised = templates.localised(
        _read_template(template),
        functions=code,
        layer=layer,
        project=variables,
        local={**own, **environment(manifest=str(manifest.path), build=UNDEPLOYED)},
        events=manifest.events,
    )
    return stacks.deploy(cloud, localised, [*code.values(), layer])


def _read_template(path: Path) -> dict[str, Any]:
    try:
        template: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError as exc:
        raise LocalServiceError(f"There is no template at {path}; run `make synth`.") from exc
    return template


@contextmanager
def _own_environment() -> Iterator[None]:
    """Give this process an environment to change, without what must not reach the local cloud."""
    before = dict(os.environ)
    _replace_environment(clouds.inherited(before))
    try:
        yield
    finally:
        _replace_environment(before)


def _settings(outputs: stacks.Outputs, manifest: Manifest) -> dict[str, str]:
    return environment(
        table=outputs.table,
        bucket=outputs.bucket,
        run_queue_url=outputs.run_queue_url,
        webhook_queue_url=outputs.webhook_queue_url,
        workflow_arn=outputs.workflow_arn,
        crew_function="crew",
        manifest=str(manifest.path),
        build=UNDEPLOYED,
        authentication="open",
    )


def _replace_environment(environ: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    os.environ.update(environ)


@contextmanager
def _announced(state: states.StateFolder, url: str) -> Iterator[None]:
    """Say in the state folder where the service is, for programs that started it."""
    draft = state.address.with_suffix(".tmp")
    draft.write_text(json.dumps({"pid": os.getpid(), "url": url}))
    draft.replace(state.address)
    try:
        yield
    finally:
        state.address.unlink()
