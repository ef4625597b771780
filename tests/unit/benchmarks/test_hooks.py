import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from benchmarks.runs.hooks import Recorder, see_clients
from benchmarks.runs.traces import Request, parse
from crewline.store import keys

LEASE, ROW = keys.lease("default", "t"), keys.thread("default", "t")


@pytest.fixture
def dynamodb(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        client = boto3.client("dynamodb", region_name="us-east-1")
        client.create_table(
            TableName="t",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("PK", "SK")],
            KeySchema=[
                {"AttributeName": "PK", "KeyType": "HASH"},
                {"AttributeName": "SK", "KeyType": "RANGE"},
            ],
        )
        yield client


def _put(key: keys.Key, **texts: str) -> dict[str, Any]:
    item = {"PK": key.partition, "SK": key.sort, **texts}
    return {"TableName": "t", "Item": {name: {"S": text} for name, text in item.items()}}


def _record(dynamodb: Any, log: Path, *, images: bool = True) -> None:
    Recorder("worker", log, images=images).adopt(dynamodb)


def _recorded(log: Path) -> list[Request]:
    return parse(log.read_bytes().splitlines())


def test_a_transaction_doubles_the_table_and_not_its_indexes(dynamodb: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    _record(dynamodb, log)
    row = _put(ROW, body="x" * 1_500, **keys.by_updated("default", "t", "2026"))
    dynamodb.transact_write_items(TransactItems=[{"Put": _put(LEASE)}, {"Put": row}])
    [request] = _recorded(log)
    assert list(request.touched) == ["put lease", "put thread row"]
    assert (request.table_units, request.index_units) == (2 + 4, 1)


def test_the_larger_of_before_and_after_counts(dynamodb: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    dynamodb.put_item(**_put(ROW, body="x" * 3_500))
    _record(dynamodb, log)
    dynamodb.put_item(**_put(ROW))
    dynamodb.delete_item(TableName="t", Key=_put(ROW)["Item"])
    assert [request.table_units for request in _recorded(log)] == [4, 1]


def test_an_index_entry_that_moves_costs_two(dynamodb: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    dynamodb.put_item(**_put(ROW, **keys.by_updated("default", "t", "2026")))
    _record(dynamodb, log)
    dynamodb.put_item(**_put(ROW, **keys.by_updated("default", "t", "2027")))
    assert [request.index_units for request in _recorded(log)] == [2]


def test_a_refused_write_is_recorded(dynamodb: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    _record(dynamodb, log)
    with pytest.raises(dynamodb.exceptions.ConditionalCheckFailedException):
        dynamodb.put_item(**_put(ROW), ConditionExpression="attribute_exists(PK)")
    assert [request.table_units for request in _recorded(log)] == [1]


def test_without_images_a_trace_has_times_and_no_units(dynamodb: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    _record(dynamodb, log, images=False)
    dynamodb.put_item(**_put(ROW))
    dynamodb.get_item(TableName="t", Key={name: _put(ROW)["Item"][name] for name in ("PK", "SK")})
    write, read = _recorded(log)
    assert (write.operation, read.operation) == ("PutItem", "GetItem")
    assert write.began < write.ended <= read.began < read.ended
    assert (write.process, write.table_units, list(read.touched)) == ("worker", 0, ["thread row"])


def test_clients_that_exist_already_cannot_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "crewline.processes", object())
    with pytest.raises(RuntimeError, match="before its clients"):
        see_clients(lambda client: client)
