"""Builds: one digest of all that a deploy changes of the functions, a version of each for it, and who is invoked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crewline.settings import UNDEPLOYED, VARIABLES

OfType = Callable[[str], dict[str, dict[str, Any]]]
NAMES = ("Api", "Crew", "Tail", "Worker", "Sweeper", "Intake")


# ------------------------------------------------------------------ the template


def test_every_function_has_a_version_of_the_build_and_an_alias_that_points_at_it(
    template: dict[str, Any], of_type: OfType
) -> None:
    assert set(of_type("Lambda::Alias")) == {f"{name}Live" for name in NAMES}
    for name in NAMES:
        variables = of_type("Lambda::Function")[f"{name}Function"]["Environment"]["Variables"]
        version = f"{name}Version{variables[VARIABLES['build']]}"
        assert template["Resources"][version]["Properties"] == {"FunctionName": {"Ref": f"{name}Function"}}
        assert of_type("Lambda::Alias")[f"{name}Live"] == {
            "FunctionName": {"Ref": f"{name}Function"},
            "FunctionVersion": {"Fn::GetAtt": [version, "Version"]},
            "Name": "live",
        }


def test_a_version_outlives_the_next_deploy_but_not_one_that_fails(template: dict[str, Any]) -> None:
    versions = [one for one in template["Resources"].values() if one["Type"] == "AWS::Lambda::Version"]
    assert len(versions) == len(NAMES)
    for version in versions:
        assert (version["DeletionPolicy"], version["UpdateReplacePolicy"]) == (
            "RetainExceptOnCreate",
            "Retain",
        )


def test_nobody_invokes_a_function_but_by_its_alias(of_type: OfType) -> None:
    callers = [
        *(permission["FunctionName"] for permission in of_type("Lambda::Permission").values()),
        *(source["FunctionName"] for source in of_type("Lambda::EventSourceMapping").values()),
        *(rule["Targets"] for rule in of_type("Events::Rule").values()),
        *(method["Integration"] for method in of_type("ApiGateway::Method").values()),
        *(machine["DefinitionString"] for machine in of_type("StepFunctions::StateMachine").values()),
        *(
            statement["Resource"]
            for policy in of_type("IAM::Policy").values()
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Action"] == "lambda:InvokeFunction"
        ),
        of_type("Lambda::Function")["ApiFunction"]["Environment"]["Variables"][VARIABLES["crew_function"]],
    ]
    for caller in callers:
        told = json.dumps(caller)
        assert 'Live"' in told
        assert 'Function"' not in told


def test_the_packaged_template_names_no_build(of_type: OfType) -> None:
    for function in of_type("Lambda::Function").values():
        assert function["Environment"]["Variables"][VARIABLES["build"]] == UNDEPLOYED


# ------------------------------------------------------------------ the build


def _synthesise(
    folder: Path, change: Callable[[Any, Any, Any], None] | None = None, *, layer_folder: Path | None = None
) -> dict[str, Any]:
    """Make a stack of one function with one layer; whatever `change` does, it does after the publication."""
    from aws_cdk import App, Stack
    from aws_cdk import aws_lambda as lambda_
    from aws_cdk.assertions import Template

    from crewline_cdk.versions import publish

    stack = Stack(App(analytics_reporting=False), "Ours")
    layer = lambda_.LayerVersion(stack, "Layer", code=lambda_.Code.from_asset(str(layer_folder or folder)))
    function = lambda_.Function(
        stack,
        "Function",
        runtime=lambda_.Runtime.PYTHON_3_13,
        handler="index.handler",
        code=lambda_.Code.from_inline("pass"),
        environment={"MODEL": "small"},
        layers=[layer],
    )
    publish(stack, {"api": function})
    if change:
        change(stack, function, function.node.default_child)
    return dict(Template.from_stack(stack).to_json())


@pytest.fixture(scope="module")
def before(node: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The stack without any change."""
    return _synthesise(tmp_path_factory.mktemp("before"))


def _build(template: dict[str, Any]) -> str:
    resources = template["Resources"]
    (function,) = (one for one in resources.values() if one["Type"] == "AWS::Lambda::Function")
    (version,) = (name for name, one in resources.items() if one["Type"] == "AWS::Lambda::Version")
    build: str = function["Properties"]["Environment"]["Variables"][VARIABLES["build"]]
    assert version == f"ApiVersion{build}"
    return build


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("change", "is_another"),
    [
        (lambda _, function, __: function.add_environment("MODEL", "large"), True),
        (lambda _, function, __: function.add_environment("MORE", "x"), True),
        (lambda _, __, resource: setattr(resource, "memory_size", 1024), True),
        (lambda _, __, resource: setattr(resource, "timeout", 60), True),
        (lambda _, __, resource: setattr(resource, "code", {"zipFile": "passed = True"}), True),
        (lambda _, __, resource: setattr(resource, "kms_key_arn", "arn:aws:kms:eu-west-1:1:key/0"), True),
        (lambda _, __, resource: setattr(resource, "reserved_concurrent_executions", 7), False),
        (lambda _, __, resource: setattr(resource, "recursive_loop", "Allow"), False),
        (lambda _, __, resource: resource.tags.set_tag("team", "crews"), False),
    ],
    ids=["variable", "new variable", "memory", "timeout", "code", "key", "reserved", "loop", "tag"],
)
def test_what_a_version_keeps_makes_another_build_and_nothing_else_does(
    tmp_path: Path, before: dict[str, Any], change: Callable[[Any, Any, Any], None], is_another: bool
) -> None:
    after = _synthesise(tmp_path, change)
    assert after != before
    assert (_build(after) != _build(before)) is is_another


@pytest.mark.usefixtures("node")
def test_what_a_layer_holds_is_of_the_build(tmp_path: Path) -> None:
    made = {}
    for name in ("one", "the same", "another"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "crew.py").write_text(f"changed = {name == 'another'}\n")
        made[name] = _build(_synthesise(tmp_path, layer_folder=tmp_path / name))
    assert made["one"] == made["the same"] != made["another"]
