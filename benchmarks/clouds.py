"""A local cloud of a benchmark's own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crewline.local import clouds, states


@contextmanager
def local_cloud() -> Iterator[str]:
    """Run a local cloud that is gone afterwards; nothing of the caller's AWS settings is used."""
    with (
        tempfile.TemporaryDirectory(prefix="crewline-bench-") as folder,
        states.held(Path(folder)) as state,
        clouds.running(state) as cloud,
    ):
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            del os.environ[name]
        os.environ.update(cloud.environment)
        yield cloud.url
