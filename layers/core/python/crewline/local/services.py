"""The whole local service, composed: state, cloud, stack, functions, front door."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, chdir, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from crewline import locations
from crewline.local import bundles, clouds, handlers, servers, sources, stacks, states, templates
from crewline.local.failures import LocalServiceError
from crewline.models.manifests import Manifest, find_manifest, project_environment, read_manifest
from crewline.settings import UNDEPLOYED, environment

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
        project: The folder of the project's manifest.
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
    manifest = read_manifest(find_manifest(project.resolve()))
    with ExitStack() as stack:
        ground = stack.enter_context(
            prepared(
                manifest, state=state, port=port, event_bus=event_bus, functions=functions, template=template
            )
        )
        outputs = ground.deploy(manifest, sources.keep(sources.snapshot(manifest), ground.state.sources))
        os.environ.update(ground.environment(manifest, outputs))
        stack.enter_context(chdir(manifest.folder))
        door = stack.enter_context(handlers.front_door(functions, manifest))
        stack.enter_context(servers.serving(door, ground.listener))
        stack.enter_context(announced(ground))
        yield LocalService(ground.url, manifest, ground.state, ground.cloud, outputs.intake_queue_url)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a local service stands on: a port, a state folder, a local cloud, and what is deployed there."""

    listener: socket.socket
    """Where requests come in; nothing is served on it yet."""
    state: states.StateFolder
    cloud: clouds.LocalCloud
    event_bus: str
    functions: Path
    template: Path

    @property
    def url(self) -> str:
        """Where the HTTP API is."""
        return f"http://{clouds.LOOPBACK}:{self.listener.getsockname()[1]}"

    def environment(self, manifest: Manifest, outputs: stacks.Outputs) -> dict[str, str]:
        """Spell the variables of a function that loads the crews or answers requests.

        Raises:
            BadManifest: The manifest names an env file that is not there.
        """
        settings = _settings(outputs, manifest)
        return {**_project_variables(manifest), **self._own, **settings, **self.cloud.environment}

    def deploy(self, manifest: Manifest, kept: Path) -> stacks.Outputs:
        """Bring the local cloud's stack up to what the project is.

        Functions there that have loaded other sources get no invocation any more, and end with the one
        under way.

        Args:
            manifest: The project.
            kept: The copy of its modules that is to be loaded.

        Raises:
            BadManifest: The manifest names an env file that is not there.
            LocalServiceError: The stack cannot be deployed.
        """
        code = {
            name: bundles.function_bundle(self.functions / name, manifest.folder, kept)
            for name in (*handlers.ANSWERING, *_CONSUMING)
        }
        layer = bundles.layer_bundle()
        localised = templates.localised(
            _read_template(self.template),
            functions=code,
            layer=layer,
            project=_project_variables(manifest),
            local={
                **self._own,
                **environment(manifest=str(manifest.path), build=UNDEPLOYED, measures=False),
            },
            events=manifest.events,
        )
        return stacks.deploy(self.cloud, localised, [*code.values(), layer])

    @property
    def _own(self) -> dict[str, str]:
        return {**_STRICT, **(environment(event_bus=self.event_bus) if self.event_bus else {})}


@contextmanager
def prepared(
    manifest: Manifest, *, state: Path, port: int, event_bus: str, functions: Path, template: Path
) -> Iterator[Ground]:
    """Take port and state folder, and run a local cloud, on which nothing is deployed yet; see `serve`.

    Raises:
        BadManifest: The manifest names an env file that is not there.
        LocalServiceError: The port or the state folder is in use, or the local cloud does not come up.
    """
    _project_variables(manifest)  # what cannot be read is told before anything is there
    with ExitStack() as stack:
        listener = stack.enter_context(servers.listen(port))
        folder = stack.enter_context(states.held(state.resolve()))
        # First of all: with the caller's AWS profile no client could be made.
        stack.enter_context(_own_environment())
        cloud = stack.enter_context(clouds.running(folder))
        if event_bus:
            stacks.make_bus(cloud, event_bus)
        yield Ground(
            listener=listener,
            state=folder,
            cloud=cloud,
            event_bus=event_bus,
            functions=functions,
            template=template,
        )


def _project_variables(manifest: Manifest) -> dict[str, str]:
    # AWS on a laptop is the local cloud, whatever account the project means elsewhere.
    return {
        name: value for name, value in project_environment(manifest).items() if not name.startswith("AWS_")
    }


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
        schedule_group=outputs.schedule_group,
        schedule_role=outputs.schedule_role,
        schedule_function=outputs.schedule_function,
        schedule_dead_letters=outputs.schedule_dead_letters,
        crew_function="crew",
        langgraph=version("langgraph"),
        measures=False,
        manifest=str(manifest.path),
        build=UNDEPLOYED,
        authentication="open",
    )


def _replace_environment(environ: Mapping[str, str]) -> None:
    for name in os.environ.keys() - environ.keys():
        del os.environ[name]
    os.environ.update(environ)


@contextmanager
def announced(ground: Ground) -> Iterator[None]:
    """Say in the state folder where the service is, for programs that started it."""
    state = ground.state
    draft = state.address.with_suffix(".tmp")
    draft.write_text(json.dumps({"pid": os.getpid(), "url": ground.url}))
    draft.replace(state.address)
    try:
        yield
    finally:
        state.address.unlink()
