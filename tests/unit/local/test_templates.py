"""The template as the local cloud gets it, and the code that it names."""

from __future__ import annotations

import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from crewline.local import templates
from crewline.local.bundles import Bundle, function_bundle, layer_bundle
from crewline.local.failures import LocalServiceError

TEMPLATE: dict[str, dict[str, object]] = {
    "Resources": {
        "Crew": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Code": {"S3Bucket": "b", "S3Key": "k"},
                "Environment": {
                    "Variables": {
                        "POWERTOOLS_SERVICE_NAME": "crew",
                        "CREWLINE_TABLE": {"Ref": "Table"},
                        "CREWLINE_MANIFEST": "/opt/project/langgraph.json",
                    }
                },
            },
        },
        "Version": {"Type": "AWS::Lambda::Version", "Properties": {"FunctionName": {"Ref": "Crew"}}},
        "Live": {
            "Type": "AWS::Lambda::Alias",
            "Properties": {
                "FunctionName": {"Ref": "Crew"},
                "FunctionVersion": {"Ref": "Version"},
                "Name": "live",
            },
        },
        "Layer": {"Type": "AWS::Lambda::LayerVersion", "Properties": {"Content": {}}},
        "Table": {"Type": "AWS::DynamoDB::Table"},
    }
}


def test_functions_get_local_code_and_variables_in_order_of_precedence() -> None:
    project = {"KEY": "from the project", "CREWLINE_TABLE": "mine"}
    local = templates.localised(
        TEMPLATE,
        functions={"crew": Bundle("crew.zip", b"")},
        layer=Bundle("layer.zip", b""),
        project=project,
        local={"CREWLINE_MANIFEST": "/here/langgraph.json"},
    )["Resources"]
    assert local["Crew"]["Properties"]["Code"] == {"S3Bucket": templates.ASSETS, "S3Key": "crew.zip"}
    assert local["Layer"]["Properties"]["Content"] == {"S3Bucket": templates.ASSETS, "S3Key": "layer.zip"}
    assert local["Crew"]["Properties"]["Environment"]["Variables"] == {
        "KEY": "from the project",
        "POWERTOOLS_SERVICE_NAME": "crew",
        "CREWLINE_TABLE": {"Ref": "Table"},
        "CREWLINE_MANIFEST": "/here/langgraph.json",
    }
    assert local["Layer"] != TEMPLATE["Resources"]["Layer"], "the template is left alone"


def test_functions_have_no_versions_here_and_aliases_mean_what_is_there_now() -> None:
    local = templates.localised(
        TEMPLATE, functions={"crew": Bundle("crew.zip", b"")}, layer=layer_bundle(), project={}, local={}
    )["Resources"]
    assert "Version" not in local
    assert local["Live"]["Properties"] == {
        "FunctionName": {"Ref": "Crew"},
        "FunctionVersion": "$LATEST",
        "Name": "live",
    }


def test_a_function_without_code_here_is_an_error() -> None:
    with pytest.raises(LocalServiceError, match="function Crew has no code here"):
        templates.localised(TEMPLATE, functions={}, layer=layer_bundle(), project={}, local={})


def test_equal_content_makes_equal_bundles(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    first = function_bundle(tmp_path / "crew", tmp_path, kept)
    assert first == function_bundle(tmp_path / "crew", tmp_path, kept)
    assert first.key != function_bundle(tmp_path / "api", tmp_path, kept).key
    assert first.key != function_bundle(tmp_path / "crew", tmp_path, tmp_path / "other").key


def test_a_bootstrap_survives_folders_with_odd_names(tmp_path: Path) -> None:
    folder = tmp_path / "it's a $HOME folder"
    function = folder / "crew"
    function.mkdir(parents=True)
    bundle = function_bundle(function, folder, folder / "kept")
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        script = archive.read("bootstrap").decode()
        assert archive.getinfo("bootstrap").external_attr >> 16 & 0o111
    head, _, _ = script.rpartition("exec ")
    told = subprocess.run(
        ["/bin/sh", "-c", f'{head}pwd; echo "$PYTHONPATH"'],
        env={"PYTHONPATH": "theirs"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert told[0] == str(folder)
    assert told[1].split(":")[0] == str(function)
    assert told[1].split(":")[-1] == "theirs"
