"""The template that the wheel carries, so that `crewline dev` deploys the stack without Node."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, Final

from aws_cdk import App, DefaultStackSynthesizer

from crewline.settings import UNDEPLOYED, VARIABLES
from crewline_cdk.stacks import CrewlineStack

STACK_NAME: Final = "Crewline"
"""Name of the stack, in an account as on the local cloud."""

_ASSETS: Final = "crewline-assets"
"""Bucket that the packaged template takes code from."""


def packaged_template() -> str:
    """Synthesise the stack of the example crews as the local cloud deploys it.

    It is what `cdk synth` makes but for where code lies: a plain bucket, keys named after logical
    ids. No parameters, no rules, no path or account of this machine: the same bytes everywhere.

    Returns:
        The template as JSON text.

    Raises:
        BadManifest: The example crews have no manifest.
    """
    synthesizer = DefaultStackSynthesizer(
        generate_bootstrap_version_rule=False, file_assets_bucket_name=_ASSETS, bucket_prefix=""
    )
    with tempfile.TemporaryDirectory() as folder:
        # No layer is filled: only its place in the template counts.
        app = App(outdir=folder, analytics_reporting=False, context={"aws:cdk:bundling-stacks": []})
        CrewlineStack(app, STACK_NAME, synthesizer=synthesizer)
        template = app.synth().get_stack_by_name(STACK_NAME).template
    for logical_id, code in _code(template):
        code["S3Key"] = f"{logical_id}.zip"
    text = json.dumps(template, indent=1, sort_keys=True) + "\n"
    # Who deploys it brings other code, and numbers nothing.
    return text.replace(_build(template), UNDEPLOYED)


def _build(template: Mapping[str, Any]) -> str:
    """Tell which build the functions of a template are of."""
    (build,) = {
        resource["Properties"]["Environment"]["Variables"][VARIABLES["build"]]
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::Lambda::Function"
    }
    return str(build)


def _code(template: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield what each function and layer of a template is made from, by logical id."""
    for logical_id, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        code = properties.get("Code") or properties.get("Content")
        if code:
            yield logical_id, code
