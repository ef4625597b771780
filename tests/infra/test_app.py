"""The CDK app of any project, run as the CDK's command line runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crewline import locations


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("context", "message"),
    [
        ({}, "Error: The context names no project; add -c project=DIR"),
        (
            {"project": str(locations.EXAMPLES), "architecture": "arm"},
            "Error: There is no architecture 'arm'",
        ),
        (
            {"project": str(locations.EXAMPLES), "stage": "test"},
            "Error: stage is production or staging, not 'test'.",
        ),
        (
            {"project": str(locations.EXAMPLES), "stack": "my_crews"},
            "Error: No stack can be called 'my_crews': a name has letters, digits and hyphens",
        ),
    ],
)
def test_what_a_person_can_repair_is_one_line(tmp_path: Path, context: dict[str, str], message: str) -> None:
    environ = {**os.environ, "CDK_OUTDIR": str(tmp_path / "cdk.out"), "CDK_CONTEXT_JSON": json.dumps(context)}
    command = [sys.executable, "-m", "crewline_cdk"]

    ended = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert ended.returncode == 2
    # The CDK may have said before that this Node is too old.
    assert ended.stderr.splitlines()[-1].startswith(message)
