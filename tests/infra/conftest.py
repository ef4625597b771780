"""What the tests of the infrastructure share.

Most judge the template that the wheel packages, which takes neither Node nor time; one test, with
one synth, proves that this template is what the constructs make. What a team's own decisions change
is judged by few syntheses, each of many decisions (test_service.py).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from crewline import locations

Resources = dict[str, dict[str, Any]]


@pytest.fixture(scope="session")
def template() -> dict[str, Any]:
    packaged: dict[str, Any] = json.loads(locations.TEMPLATE.read_text())
    return packaged


@pytest.fixture(scope="session")
def of_type(template: dict[str, Any]) -> Callable[[str], Resources]:
    """Give the properties of every resource of a type, by logical id."""

    def find(kind: str) -> Resources:
        resources = template["Resources"].items()
        return {name: item["Properties"] for name, item in resources if item["Type"] == f"AWS::{kind}"}

    return find


@pytest.fixture(scope="session")
def node() -> None:
    """Skip where CDK cannot run; import `aws_cdk` and `crewline_cdk` only after this."""
    if shutil.which("node") is None:
        pytest.skip("CDK needs Node, and there is none on this machine")
