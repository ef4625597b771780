"""A local service that follows its project: an edited file is served a moment later.

```
host 1: loads ── serves ──────────────────────────────▶ retires: answers what is under way ── ends
file changed ──▶ host 2: loads ── stack is deployed ── serves ────────────────────────────▶
                 host 2: does not load ──▶ ends; host 1 never stopped serving
                 host 2: hangs ── file changed again ──▶ ends, host 3: loads …
```

Both serve the one listening socket in between, so no request is refused, and the workers of the local
cloud are replaced by the deploy, each when the invocation under way is through. A run in its request ends in
the host that began it; one whose client has left goes on from its newest checkpoint when its lease is over.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import watchfiles

from crewline import locations
from crewline.errors import CrewlineError
from crewline.local import clouds, services, sources
from crewline.local.failures import LocalServiceError
from crewline.local.hosts import Host, Outdated
from crewline.models.manifests import Manifest, find_manifest, read_manifest

_logger = logging.getLogger(__name__)

_LOOK: Final = 0.5
"""Seconds between two looks at whether the processes still run."""
_GATHER_MS: Final = 400
"""How long changes are gathered that come one after the other, as an editor or a checkout makes them."""
_MOST_RETIRED: Final = 3
"""Each is a process with all that the crews import; the oldest ends when one more comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """What came of an edit."""

    files: tuple[Path, ...]
    """What was changed, added or removed."""
    seconds: float
    error: CrewlineError | None = None
    """Why the project as it is now is not served; what was before still is."""


class ReloadingService:
    """A local service whose host is replaced when the project has changed.

    Args:
        ground: What it stands on.
        manifest: The project.
    """

    def __init__(self, ground: services.Ground, manifest: Manifest) -> None:
        self._ground = ground
        self._manifest = manifest
        self._changed, self._looks_elsewhere = threading.Event(), threading.Event()
        self._given_up: set[Path] = set()
        """What was changed before a load that was given up."""
        self._seen = sources.snapshot(manifest)
        kept = sources.keep(self._seen, ground.state.sources)
        self._outputs = ground.deploy(manifest, kept)
        self._host = self._load(manifest, kept)
        self._host.serve()
        self._retired: deque[Host] = deque()

    @property
    def service(self) -> services.LocalService:
        """The service as it is now."""
        ground = self._ground
        return services.LocalService(
            ground.url, self._manifest, ground.state, ground.cloud, self._outputs.intake_queue_url
        )

    def reloads(self) -> Iterator[Reload]:
        """Reload for ever, whenever a source has changed, and say what came of it.

        Raises:
            LocalServiceError: The local cloud or the host ended by itself.
        """
        threading.Thread(target=self._watch, name="watch", daemon=True).start()
        while True:
            if self._changed.wait(_LOOK):
                self._changed.clear()
                if reload := self._follow():
                    yield reload
            self._check()

    def stop(self) -> None:
        """End every host."""
        for host in self._retired:
            host.kill()
        self._host.stop()

    def _load(self, manifest: Manifest, kept: Path) -> Host:
        ground = self._ground
        environ = {**os.environ, **ground.environment(manifest, self._outputs)}
        return Host(
            ground.listener,
            manifest,
            ground.functions,
            environ,
            kept,
            is_outdated=lambda: self._has_changed_since(manifest),
        )

    def _has_changed_since(self, manifest: Manifest) -> bool:
        """Tell whether there is something newer than what is loaded, which then is not waited for: it may hang."""
        if not self._changed.is_set():
            return False
        self._changed.clear()  # a change from here on sets it again
        if not sources.changed(self._seen, sources.snapshot(manifest)):
            return False
        self._changed.set()
        return True

    def _follow(self) -> Reload | None:
        begun = time.monotonic()
        now = sources.snapshot(self._manifest)
        if not (files := tuple(sources.changed(self._seen, now))):
            return None
        self._seen = now
        error = None
        try:
            self._replace()
        except Outdated:
            self._given_up.update(files)
            return None
        except CrewlineError as exc:
            error = exc
        files = tuple(sorted({*files, *self._given_up}))
        self._given_up.clear()
        return Reload(files=files, seconds=time.monotonic() - begun, error=error)

    def _replace(self) -> None:
        manifest = read_manifest(find_manifest(self._manifest.folder))
        self._seen = sources.snapshot(manifest)  # it may name other folders
        kept = sources.keep(self._seen, self._ground.state.sources)
        host = self._load(manifest, kept)
        try:
            self._outputs = self._ground.deploy(manifest, kept)
            host.serve()
        except BaseException:
            host.kill()
            raise
        self._retired.append(self._host)
        self._host, self._manifest = host, manifest
        self._retired[-1].retire()
        self._looks_elsewhere.set()
        while len(self._retired) > _MOST_RETIRED:
            self._retired.popleft().kill()

    def _check(self) -> None:
        while self._retired and self._retired[0].process.poll() is not None:
            self._retired.popleft().kill()
        if (code := self._ground.cloud.process.poll()) is not None:
            log = clouds.last_lines(self._ground.state.cloud_log)
            raise LocalServiceError(f"The local cloud ended by itself (code {code}).\n{log}")
        if (code := self._host.process.poll()) is not None:
            raise LocalServiceError(f"The process that loads the crews ended by itself (code {code}).")

    def _watch(self) -> None:
        """Notice changes until the process ends."""
        try:
            while True:
                with suppress(FileNotFoundError):  # a folder went while we began to look at it
                    self._look()
        except (OSError, RuntimeError):  # as where the system watches no more folders
            _logger.exception("The project cannot be watched; start again after an edit")

    def _look(self) -> None:
        """Notice changes, folder by folder, until there are other folders.

        What is installed or generated in a project is never looked at.
        """
        self._looks_elsewhere.clear()
        manifest = self._manifest
        self._changed.set()  # for what has changed while nobody looked

        def wanted(_change: watchfiles.Change, path: str) -> bool:
            return sources.is_source(Path(path), manifest) or sources.is_folder(Path(path))

        for changes in watchfiles.watch(
            *(folder for folder in sources.folders(manifest) if folder.is_dir()),
            watch_filter=wanted,
            debounce=_GATHER_MS,
            stop_event=self._looks_elsewhere,
            raise_interrupt=False,
            recursive=False,
        ):
            self._changed.set()
            if not all(sources.is_source(Path(path), manifest) for _, path in changes):
                return  # a new folder


@contextmanager
def serve_reloading(
    project: Path,
    *,
    state: Path,
    port: int = 0,
    event_bus: str = "",
    functions: Path = locations.FUNCTIONS,
    template: Path = locations.TEMPLATE,
) -> Iterator[ReloadingService]:
    """Serve a project on this machine, its crews in a process that is replaced when the project has changed.

    Args:
        project: The folder of the project's manifest.
        state: The folder for state and logs; made if need be.
        port: Port on loopback; 0 for any free one.
        event_bus: Name of a bus on the local cloud that is told of every run; made if need be.
        functions: The folder of the functions' entry points.
        template: The stack to deploy.

    Yields:
        The service; it reloads for as long as somebody asks for its `reloads`.

    Raises:
        BadManifest: The manifest cannot be read.
        CrewFailedToLoad: A crew of the project raised while it was imported.
        LocalServiceError: The port or the state folder is in use, or the local cloud does not come up.
    """
    manifest = read_manifest(find_manifest(project.resolve()))
    with ExitStack() as stack:
        ground = stack.enter_context(
            services.prepared(
                manifest, state=state, port=port, event_bus=event_bus, functions=functions, template=template
            )
        )
        service = ReloadingService(ground, manifest)
        stack.callback(service.stop)
        stack.enter_context(services.announced(ground))
        yield service
