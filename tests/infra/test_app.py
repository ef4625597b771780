"""The CDK app of any project, run as the CDK's command line runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from crewline import locations

pytestmark = pytest.mark.thorough


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
    said = refused(tmp_path, context)
    assert said.startswith(message)


@pytest.mark.usefixtures("node")
def test_a_project_may_have_a_crewship_toml(tmp_path: Path) -> None:
    (tmp_path / "crewship.toml").write_text("[deployment]\nframework = 'crewai'\nentrypoint = 'a:b'\n")
    said = refused(tmp_path, {"project": str(tmp_path)})
    assert said.startswith(f"Error: {tmp_path / 'crewship.toml'}: deployment.framework is 'crewai', which")


def refused(tmp_path: Path, context: dict[str, str]) -> str:
    """Run the app; the line with which it ends."""
    environ = {**os.environ, "CDK_OUTDIR": str(tmp_path / "cdk.out"), "CDK_CONTEXT_JSON": json.dumps(context)}
    command = [sys.executable, "-m", "crewline_cdk"]
    ended = subprocess.run(command, env=environ, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    # The CDK may have said before that this Node is too old.
    return ended.stderr.splitlines()[-1]
