"""The examples of docs/ run."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from crewline.local import clouds, states
from crewline.store.clients import client

PAGES = Path(__file__).parents[2] / "docs"
DOCS = (PAGES / "README.md").read_text()
DEPLOYING = (PAGES / "deploying.md").read_text()
NEEDS_NODE = pytest.mark.skipif(shutil.which("node") is None, reason="CDK needs Node, and there is none here")

BEFORE = """
from langgraph.graph import START, MessagesState, StateGraph
builder = StateGraph(MessagesState).add_node("reply", lambda state: {"messages": [("ai", "hi")]})
builder.add_edge(START, "reply")
"""
AFTER = """
again = builder.compile(checkpointer=DynamoDBCheckpointer("my-table", bucket="my-bucket"))
state = again.get_state({"configurable": {"thread_id": "1"}})
print([message.content for message in state.values["messages"]])
"""


def test_three_lines_give_a_graph_durable_threads(tmp_path: Path) -> None:
    [example] = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    with states.held(tmp_path / "state") as state, clouds.running(state) as cloud:
        _make_table_and_bucket(cloud)
        result = subprocess.run(
            [sys.executable, "-c", BEFORE + example + AFTER],
            env={**os.environ, **cloud.environment},
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.stdout == "['hello', 'hi']\n", result.stderr


def _make_table_and_bucket(cloud: clouds.LocalCloud) -> None:
    access = {"endpoint_url": cloud.url, "region": clouds.REGION, "credentials": clouds.CREDENTIALS}
    client("s3", **access).create_bucket(Bucket="my-bucket")  # type: ignore[call-overload]
    client("dynamodb", **access).create_table(  # type: ignore[call-overload]
        TableName="my-table",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK")],
        KeySchema=[
            {"AttributeName": "PK", "KeyType": "HASH"},
            {"AttributeName": "SK", "KeyType": "RANGE"},
        ],
    )


@pytest.mark.thorough
@NEEDS_NODE
def test_a_team_deploys_crews_of_its_own_with_decisions_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "langgraph.json").write_text('{"graphs": {"chat": "./chat.py:graph"}}')
    (tmp_path / "chat.py").write_text("")
    [example] = [one for one in re.findall(r"```python\n(.*?)```", DEPLOYING, re.DOTALL) if "App()" in one]
    program = example.replace("App()", "App(outdir='cdk.out', context={'aws:cdk:bundling-stacks': []})")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    template = (tmp_path / "cdk.out" / "Crews.template.json").read_text()
    assert "{{resolve:secretsmanager:openai:SecretString:key}}" in template


@NEEDS_NODE
def test_the_guide_to_deploying_has_every_decision_of_a_team() -> None:
    from crewline_cdk.props import CrewlineProps

    table = DEPLOYING.split("| prop |")[1].split("\n\n")[0]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}

    assert named == {field.name for field in fields(CrewlineProps)}
