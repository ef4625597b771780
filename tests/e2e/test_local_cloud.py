"""The local cloud behaves as AWS does where our functions would notice."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from crewline.local import bundles, clouds, patches, sources, stacks, states, templates
from crewline.local.failures import LocalServiceError
from crewline.store import clients, keys
from tests.e2e.processes import eventually, gone, is_alive

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client


def deploy(cloud: clouds.LocalCloud, template: Path, functions: Path, **project: str) -> stacks.Outputs:
    kept = sources.keep({}, functions.parent / "sources")
    code = {
        path.name: bundles.function_bundle(path, path.parent, kept) for path in sorted(functions.iterdir())
    }
    layer = bundles.layer_bundle()
    body = templates.localised(
        json.loads(template.read_bytes()), functions=code, layer=layer, project=project, local={}
    )
    return stacks.deploy(cloud, body, [*code.values(), layer])


def dynamodb(cloud: clouds.LocalCloud) -> DynamoDBClient:
    return clients.client(
        "dynamodb", endpoint_url=cloud.url, region=clouds.REGION, credentials=clouds.CREDENTIALS
    )


def objects(cloud: clouds.LocalCloud) -> S3Client:
    return clients.client("s3", endpoint_url=cloud.url, region=clouds.REGION, credentials=clouds.CREDENTIALS)


def send(cloud: clouds.LocalCloud, queue_url: str, body: str) -> None:
    queue = clients.client(
        "sqs", endpoint_url=cloud.url, region=clouds.REGION, credentials=clouds.CREDENTIALS
    )
    queue.send_message(QueueUrl=queue_url, MessageBody=body)


def lambda_client(cloud: clouds.LocalCloud) -> Any:
    return boto3.client(
        "lambda",
        endpoint_url=cloud.url,
        region_name=clouds.REGION,
        aws_access_key_id=clouds.CREDENTIALS.access_key,
        aws_secret_access_key=clouds.CREDENTIALS.secret_key,
    )


def function_name(client: Any, name: str) -> str:
    for function in client.list_functions()["Functions"]:
        if function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == name:
            return str(function["FunctionName"])
    raise LookupError(name)


def invoke(cloud: clouds.LocalCloud, name: str, event: Any) -> tuple[bool, Any]:
    """Invoke a function; the first value says that it failed."""
    client = lambda_client(cloud)
    answer = client.invoke(FunctionName=function_name(client, name), Payload=json.dumps(event))
    return "FunctionError" in answer, json.load(answer["Payload"])


def test_every_private_name_of_the_emulator_is_there() -> None:
    patches.check_names()


def test_a_missing_private_name_is_told_with_the_release_that_has_it() -> None:
    with pytest.raises(LocalServiceError, match=r"lacks ministack.app:gone; .* needs ministack==1\.5\.33"):
        patches.check_names(("ministack.app:gone",))


def test_sixteen_threads_lose_no_increment(cloud: clouds.LocalCloud, template: Path, functions: Path) -> None:
    table = deploy(cloud, template, functions).table
    client = dynamodb(cloud)

    def increment(_: int) -> None:
        client.update_item(
            TableName=table,
            Key={keys.PARTITION: {"S": "counter"}, keys.SORT: {"S": "!"}},
            UpdateExpression="ADD hits :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(increment, range(640)))
    key = {keys.PARTITION: {"S": "counter"}, keys.SORT: {"S": "!"}}
    assert client.get_item(TableName=table, Key=key)["Item"]["hits"] == {"N": "640"}


def test_items_expire_by_the_attribute_of_the_key_table(
    cloud: clouds.LocalCloud, template: Path, functions: Path
) -> None:
    table = deploy(cloud, template, functions).table
    description = dynamodb(cloud).describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert description == {"TimeToLiveStatus": "ENABLED", "AttributeName": keys.TTL}


def test_a_function_is_the_code_of_its_folder_in_the_project(
    cloud: clouds.LocalCloud, template: Path, functions: Path
) -> None:
    (functions / "crew" / "neighbour.py").write_text("WORD = 'beside'\n")
    (functions / "crew" / "handler.py").write_text(
        "import os, neighbour\n"
        "def handler(event, context):\n"
        "    names = ('FROM_PROJECT', 'CREWLINE_TABLE', 'AWS_ENDPOINT_URL', 'AWS_REGION')\n"
        "    return [event, neighbour.WORD, os.getcwd(), *map(os.environ.get, names)]\n"
    )
    table = deploy(cloud, template, functions, FROM_PROJECT="yes").table
    failed, answer = invoke(cloud, "crew", {"a": 1})
    assert not failed, answer
    assert answer == [{"a": 1}, "beside", str(functions), "yes", table, cloud.url, clouds.REGION]


def test_an_exception_keeps_its_class_name_and_its_worker(
    cloud: clouds.LocalCloud, template: Path, functions: Path
) -> None:
    (functions / "crew" / "handler.py").write_text(
        "import os\n"
        "class OutOfPaper(Exception): ...\n"
        "def handler(event, context):\n"
        "    if event == 'pid': return os.getpid()\n"
        "    raise OutOfPaper('tray 2')\n"
    )
    deploy(cloud, template, functions)
    _, pid = invoke(cloud, "crew", "pid")
    failed, error = invoke(cloud, "crew", "print")
    assert (failed, error["errorType"], error["errorMessage"]) == (True, "OutOfPaper", "tray 2")
    assert invoke(cloud, "crew", "pid") == (False, pid)


def test_a_message_on_the_run_queue_reaches_the_worker(
    cloud: clouds.LocalCloud, template: Path, functions: Path, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    (functions / "worker" / "handler.py").write_text(
        "import pathlib\n"
        "def handler(event, context):\n"
        "    print('working on', event['Records'][0]['body'], flush=True)\n"
        f"    pathlib.Path({str(seen)!r}).write_text(event['Records'][0]['body'])\n"
    )
    url = deploy(cloud, template, functions).run_queue_url
    send(cloud, url, "run 7")
    assert eventually(lambda: seen.read_text() if seen.exists() else None) == "run 7"
    log = tmp_path / "state" / "logs" / "functions.log"
    assert "working on run 7" in eventually(log.read_text)


def test_state_survives_a_stop(tmp_path: Path, template: Path, functions: Path) -> None:
    item = {keys.PARTITION: {"S": "kept"}, keys.SORT: {"S": "!"}}
    (functions / "crew" / "handler.py").write_text("def handler(event, context):\n    return event\n")
    (functions / "worker" / "handler.py").write_text(
        "def handler(event, context):\n    print(event['Records'][0]['body'], flush=True)\n"
    )
    with states.held(tmp_path / "state") as state:
        with clouds.running(state) as cloud:
            first = deploy(cloud, template, functions)
            dynamodb(cloud).put_item(TableName=first.table, Item=item)
            objects(cloud).put_object(Bucket=first.bucket, Key="T/kept", Body=b"large")
        with clouds.running(state) as cloud:
            second = deploy(cloud, template, functions)
            assert (second.table, second.bucket) == (first.table, first.bucket)
            assert dynamodb(cloud).get_item(TableName=first.table, Key=item)["Item"] == item
            body = objects(cloud).get_object(Bucket=first.bucket, Key="T/kept")["Body"].read()
            assert body == b"large"
            assert invoke(cloud, "crew", 5) == (False, 5)
            send(cloud, second.run_queue_url, "after the restart")
            log = state.function_log
            assert "after the restart" in eventually(log.read_text)


def test_a_change_of_the_project_is_deployed_and_keeps_the_table(
    cloud: clouds.LocalCloud, template: Path, functions: Path
) -> None:
    (functions / "crew" / "handler.py").write_text(
        "import os\ndef handler(event, context):\n    return os.environ['TONE']\n"
    )
    first = deploy(cloud, template, functions, TONE="dry")
    assert invoke(cloud, "crew", None) == (False, "dry")
    assert deploy(cloud, template, functions, TONE="warm") == first
    assert invoke(cloud, "crew", None) == (False, "warm")


def test_a_stack_that_cannot_be_deployed_names_the_resource(
    cloud: clouds.LocalCloud, template: Path, functions: Path
) -> None:
    whole = template.read_text()
    body = json.loads(whole)
    layers = ["arn:aws:lambda:us-east-1:000000000000:layer:absent:1"]
    body["Resources"]["CrewFunction"]["Properties"]["Layers"] = layers
    template.write_text(json.dumps(body))
    with pytest.raises(LocalServiceError, match=r"The local stack failed: CrewFunction: .*absent"):
        deploy(cloud, template, functions)
    template.write_text(whole)
    assert deploy(cloud, template, functions).table, "the failed stack does not stand in the way"


def test_a_template_that_is_refused_is_told(
    cloud: clouds.LocalCloud, template: Path, functions: Path
) -> None:
    template.write_text('{"Resources": {"Strange": {"Type": "AWS::Nowhere::Thing"}}}')
    with pytest.raises(LocalServiceError, match=r"cannot be deployed: .*AWS::Nowhere::Thing"):
        deploy(cloud, template, functions)


def test_clients_can_be_made_from_many_threads(cloud: clouds.LocalCloud) -> None:
    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(dynamodb, [cloud] * 32))
    assert [client.list_tables()["TableNames"] for client in made] == [[]] * 32


def test_no_process_is_left_after_a_stop(tmp_path: Path, template: Path, functions: Path) -> None:
    (functions / "crew" / "handler.py").write_text(
        "import os\ndef handler(event, context):\n    return os.getpid()\n"
    )
    with states.held(tmp_path / "state") as state, clouds.running(state) as cloud:
        deploy(cloud, template, functions)
        _, worker = invoke(cloud, "crew", None)
        assert is_alive(worker)
    assert cloud.process.returncode == 0
    assert gone(worker)


def test_workers_end_with_an_emulator_that_is_killed(tmp_path: Path, template: Path, functions: Path) -> None:
    (functions / "crew" / "handler.py").write_text(
        "import os\ndef handler(event, context):\n    return os.getpid()\n"
    )
    with states.held(tmp_path / "state") as state, clouds.running(state) as cloud:
        deploy(cloud, template, functions)
        _, worker = invoke(cloud, "crew", None)
        os.kill(cloud.process.pid, signal.SIGKILL)
        eventually(lambda: gone(worker))


def test_the_environment_of_the_caller_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = {
        "AWS_PROFILE": "production",
        "AWS_SESSION_TOKEN": "secret",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MINISTACK_HOST": "elsewhere",
        "OPENAI_API_KEY": "for the crew",
    }
    assert clouds.inherited(caller) == {"OPENAI_API_KEY": "for the crew"}


def test_a_state_folder_is_for_one_service_at_a_time(tmp_path: Path) -> None:
    message = rf"is in use by another `crewline dev` \(process {os.getpid()}\); stop that one or choose"
    with (
        states.held(tmp_path),
        pytest.raises(LocalServiceError, match=message),
        states.held(tmp_path),
    ):
        pass
