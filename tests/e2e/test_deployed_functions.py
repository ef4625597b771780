"""Functions that were really deployed run on the local cloud as on Lambda: from their zips and layers."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import pytest

from crewline import locations
from crewline.local import clouds, states
from crewline.store.functions import Functions
from tests.e2e.deployed.runtimes import RUNTIME, write_entry
from tests.e2e.processes import eventually

ROLE = f"arn:aws:iam::{clouds.ACCOUNT}:role/any"

PROBE = """
import os, sys

def handler(event, context):
    import pack.one, pack.two, where
    return {"where": where.PLACE, "path": sys.path, "variables": dict(os.environ), "cwd": os.getcwd()}
"""

STREAMED = """
import time
from pathlib import Path

def answer(event, context):
    query = event.get("queryStringParameters") or {}
    if "refused" in query:
        raise ValueError("refused")
    yield {"status": 201, "headers": {"content-type": "image/png", "set-cookie": ["a=1", "b=2"]}}
    yield b"\\xff\\xfe"
    if "broken" in query:
        raise ValueError("broken off")
    if "gate" in query:
        while not Path(query["gate"]).exists():
            time.sleep(0.01)
        Path(query["gate"]).with_suffix(".done").touch()
    yield event["path"].encode()
"""

WAITING = """
import os, time
from pathlib import Path

def handler(event, context):
    folder = Path(os.environ["FOLDER"])
    (folder / event["mine"]).touch()
    while not (folder / event["other"]).exists():
        time.sleep(0.01)
    return {"release": os.environ["RELEASE"], "pid": os.getpid()}
"""


def archive(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o100755 << 16
            made.writestr(entry, content)
    return buffer.getvalue()


@dataclass(frozen=True, slots=True)
class Cloud:
    """A local cloud with Lambda's managed runtime."""

    url: str

    def client(self, service: str) -> Any:
        make: Any = boto3.client
        return make(
            service,
            endpoint_url=self.url,
            region_name=clouds.REGION,
            aws_access_key_id=clouds.CREDENTIALS.access_key,
            aws_secret_access_key=clouds.CREDENTIALS.secret_key,
        )

    def layer(self, files: Mapping[str, str | bytes]) -> str:
        made = self.client("lambda").publish_layer_version(
            LayerName=f"layer-{uuid4().hex[:8]}", Content={"ZipFile": archive(files)}
        )
        return str(made["LayerVersionArn"])

    def function(self, code: str, entry: str, *layers: str, **variables: str) -> str:
        name = f"function-{uuid4().hex[:8]}"
        self.client("lambda").create_function(
            FunctionName=name,
            Runtime=RUNTIME,
            Role=ROLE,
            Handler=f"handler.{entry}",
            Code={"ZipFile": archive({"handler.py": code})},
            Layers=list(layers),
            Timeout=30,
            Environment={"Variables": variables},
        )
        return name

    def streaming_function(self) -> str:
        files = {
            f"streaming/{path.relative_to(locations.STREAMING)}": path.read_bytes()
            for path in locations.STREAMING.rglob("*")
            if path.suffix in {"", ".py"} and path.is_file()
        }
        return self.function(
            STREAMED, "answer", self.layer(files), AWS_LAMBDA_EXEC_WRAPPER="/opt/streaming/start"
        )

    def invoke(self, name: str, event: Any) -> Any:
        answer = self.client("lambda").invoke(FunctionName=name, Payload=json.dumps(event))
        assert "FunctionError" not in answer, answer["Payload"].read()
        return json.load(answer["Payload"])

    def api(self, function: str) -> str:
        """Make a REST API that hands everything to a function through a streaming integration."""
        gateway = self.client("apigateway")
        api = gateway.create_rest_api(name="api")["id"]
        [root] = gateway.get_resources(restApiId=api)["items"]
        resource = gateway.create_resource(restApiId=api, parentId=root["id"], pathPart="{proxy+}")["id"]
        method = {"restApiId": api, "resourceId": resource, "httpMethod": "ANY"}
        gateway.put_method(**method, authorizationType="NONE")
        arn = f"arn:aws:lambda:{clouds.REGION}:{clouds.ACCOUNT}:function:{function}"
        uri = f"arn:aws:apigateway:{clouds.REGION}:lambda:path/2021-11-15/functions/{arn}"
        gateway.put_integration(
            **method,
            type="AWS_PROXY",
            integrationHttpMethod="POST",
            uri=f"{uri}/response-streaming-invocations",
        )
        gateway.create_deployment(restApiId=api, stageName="prod")
        return f"{self.url}/_aws/execute-api/{api}/prod"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    folder = tmp_path_factory.mktemp("deployed")
    runtime = folder / "runtimes" / RUNTIME
    runtime.mkdir(parents=True)
    write_entry(runtime, Path(sys.executable))
    with (
        states.held(folder / "state") as state,
        clouds.running(state, runtimes=runtime.parent) as cloud,
    ):
        yield Cloud(cloud.url)


def test_a_function_has_its_code_its_layers_over_one_another_and_the_variables_of_lambda(
    cloud: Cloud,
) -> None:
    first = cloud.layer(
        {"python/where.py": "PLACE = 'first'", "python/pack/one.py": "", "data/only.txt": "kept"}
    )
    second = cloud.layer({"python/where.py": "PLACE = 'second'", "python/pack/two.py": ""})

    seen = cloud.invoke(cloud.function(PROBE, "handler", first, second, DATA="/opt/data/only.txt"), {})

    assert seen["where"] == "second"
    assert Path(seen["variables"]["DATA"]).read_text() == "kept"
    assert seen["cwd"] == seen["variables"]["LAMBDA_TASK_ROOT"] == seen["path"][0]
    assert seen["variables"]["AWS_EXECUTION_ENV"] == f"AWS_Lambda_{RUNTIME}"
    assert seen["variables"]["AWS_ENDPOINT_URL"] == cloud.url
    # The interpreter of this test finds the library by itself; nobody tells a function where it is.
    assert str(locations.IMPORT_ROOT) not in seen["variables"].get("PYTHONPATH", "")
    assert not {"GATEWAY_PORT", "STATE_DIR", "HOME", "VIRTUAL_ENV"} & set(seen["variables"])


def test_an_api_gives_what_a_function_streams_with_its_status_headers_and_cookies(cloud: Cloud) -> None:
    answer = httpx.get(f"{cloud.api(cloud.streaming_function())}/some/path", timeout=30)

    assert (answer.status_code, answer.content) == (201, b"\xff\xfe/some/path")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]


def test_a_stream_arrives_as_it_comes_and_its_function_goes_on_when_the_client_leaves(
    cloud: Cloud, tmp_path: Path
) -> None:
    api, gate = cloud.api(cloud.streaming_function()), tmp_path / "gate"

    with httpx.stream("GET", f"{api}/path", params={"gate": str(gate)}, timeout=30) as answer:
        chunks = answer.iter_raw()
        assert next(chunks) == b"\xff\xfe"
        assert not gate.exists()
        gate.touch()
        assert b"".join(chunks) == b"/path"

    gate, done = tmp_path / "other", tmp_path / "other.done"
    with httpx.stream("GET", f"{api}/path", params={"gate": str(gate)}, timeout=30) as answer:
        assert next(answer.iter_raw()) == b"\xff\xfe"
    gate.touch()
    assert eventually(done.exists, 20)


def test_a_failure_is_a_bad_gateway_or_a_stream_without_an_end_and_says_nothing_of_itself(
    cloud: Cloud,
) -> None:
    api = cloud.api(cloud.streaming_function())

    refused = httpx.get(f"{api}/path", params={"refused": "yes"}, timeout=30)
    assert (refused.status_code, refused.json()) == (502, {"message": "Internal server error"})
    with (
        pytest.raises(httpx.RemoteProtocolError, match="incomplete"),
        httpx.stream("GET", f"{api}/path", params={"broken": "yes"}, timeout=30) as broken,
    ):
        broken.read()
    assert httpx.get(f"{api}/path", timeout=30).status_code == 201


def test_a_function_that_streams_is_asked_by_another_as_on_aws(cloud: Cloud) -> None:
    answered = Functions(cloud.client("lambda")).ask(cloud.streaming_function(), {"path": "/asked"})

    assert (answered.status, answered.body) == (201, b"\xff\xfe/asked")


def test_requests_at_once_have_a_process_each_and_a_change_lets_them_end(
    cloud: Cloud, tmp_path: Path
) -> None:
    variables = {"FOLDER": str(tmp_path)}
    function = cloud.function(WAITING, "handler", RELEASE="old", **variables)
    with ThreadPoolExecutor(2) as pool:
        # Each is there and waits for the other, and both for the last one, which comes after the change.
        before = [
            pool.submit(cloud.invoke, function, {"mine": mine, "other": "new"}) for mine in ("one", "two")
        ]
        eventually(lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists(), 20)
        cloud.client("lambda").update_function_configuration(
            FunctionName=function, Environment={"Variables": {**variables, "RELEASE": "new"}}
        )
        after = cloud.invoke(function, {"mine": "new", "other": "one"})
        ended = [one.result() for one in before]

    assert after["release"] == "new"
    assert [one["release"] for one in ended] == ["old", "old"]
    assert len({one["pid"] for one in [after, *ended]}) == 3
