"""Where things lie: the one place that tells a checkout from an installed wheel.

A checkout has `functions/`, `layers/` and so on at its root; the wheel carries the same tree
inside the package, as `crewline/_bundle`.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_BUNDLE = _PACKAGE / "_bundle"

ROOT = _BUNDLE if _BUNDLE.is_dir() else _PACKAGE.parents[3]
"""The folder that holds `functions/` and `layers/`."""

FUNCTIONS = ROOT / "functions"
"""One folder a Lambda function, each with a `handler.py`."""

EXAMPLES = ROOT / "layers" / "crews"
"""The project of the example crews: its `langgraph.json` and `python/crews`."""

TEMPLATES = ROOT / "layers" / "templates"
"""What `crewline init` begins a project with: one folder a template."""

STREAMING = ROOT / "layers" / "streaming"
"""The runtime of functions that stream, as it lies in its layer."""

ADAPTER = ROOT / "layers" / "adapter"
"""What starts functions that AWS Lambda Web Adapter serves, as it lies in its layer."""

CONTROL_LOCK = ROOT / "layers" / "deps" / "control.txt"
"""What the functions import that load no crew, with hashes."""

CREW_REQUIREMENTS = ROOT / "layers" / "deps" / "crew.in"
"""What the functions import that load crews; a project's requirements are resolved together with it."""

ADAPTER_LOCK = ROOT / "layers" / "deps" / "adapter.txt"
"""What functions need besides that AWS Lambda Web Adapter serves, with hashes."""

CREW_LOCK = ROOT / "layers" / "deps" / "crew.txt"
"""What a project without requirements of its own runs on, with hashes."""

IMPORT_ROOT = _PACKAGE.parent
"""The folder to put on `sys.path` so that `crewline` imports."""

TEMPLATE = _PACKAGE / "local" / "template.json"
"""The synthesised stack that `crewline dev` deploys to the local cloud."""
