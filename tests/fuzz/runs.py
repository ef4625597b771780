"""A run of schemathesis on a local service of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from crewline.local.children import local_service

_HERE: Final = Path(__file__).parent
_ROOT: Final = _HERE.parents[1]


def fuzz(state: Path, *options: str, captured: bool = False) -> subprocess.CompletedProcess[str]:
    """Try the operations of the API with data that fits their description, and with data that does not.

    Args:
        state: The folder for the service's state and logs.
        options: Those of `schemathesis run`; the rest is in schemathesis.toml.
        captured: Keep what it prints, instead of printing it.

    Returns:
        What came of it; an answer that the description does not allow makes the exit code 1.
    """
    with local_service(project=_HERE / "project", state=state) as service:
        return subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", f"--config-file={_HERE / 'schemathesis.toml'}"),
                *("run", f"{service.url}/openapi.json", *options),
            ],
            cwd=_ROOT,
            check=False,
            text=True,
            stdout=subprocess.PIPE if captured else None,
            stderr=subprocess.STDOUT if captured else None,
        )
