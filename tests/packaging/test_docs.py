"""The examples of docs/ run, on the local cloud."""

import os
import re
import subprocess
import sys
from pathlib import Path

from crewline.local import clouds, states
from crewline.store.clients import client

DOCS = (Path(__file__).parents[2] / "docs" / "README.md").read_text()

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
