"""`crewline versions`, `deploy --rollback` and `destroy` against a stack with versions, on the local cloud."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crewline.cli import releases
from crewline.local import clouds, states
from crewline.settings import VARIABLES
from crewline.store import clients
from tests.cli.commands import Command
from tests.cli.terminals import terminal
from tests.e2e.conftest import function_resource, table_resource

STACK = "Crews"
NAMES = ("api", "worker")
CODE = "def handler(event, context):\n    return None\n"


def build(number: int) -> str:
    return f"{number:032x}"


@dataclass
class Deployment:
    """A stack of two functions with versions, which a deploy brings from one build to another."""

    cloud: clouds.LocalCloud
    command: Command

    @property
    def formation(self) -> Any:
        return self._client("cloudformation")

    def _client(self, service: Any) -> Any:
        return clients.client(
            service, endpoint_url=self.cloud.url, region=clouds.REGION, credentials=clouds.CREDENTIALS
        )

    def deploy(self, number: int, *, keeps: bool = True) -> None:
        """Deploy a build, as CloudFormation does it alone."""
        body = json.dumps(_template(build(number), keeps=keeps))
        try:
            self.formation.describe_stacks(StackName=STACK)
        except self.formation.exceptions.ClientError:
            begin, waiter = self.formation.create_stack, "stack_create_complete"
        else:
            begin, waiter = self.formation.update_stack, "stack_update_complete"
        try:
            begin(StackName=STACK, TemplateBody=body, Capabilities=["CAPABILITY_IAM"])
        except self.formation.exceptions.ClientError as exc:
            if "No updates are to be performed" in str(exc):
                return
            raise
        self.formation.get_waiter(waiter).wait(StackName=STACK, WaiterConfig={"Delay": 0.1})

    def run(self, *arguments: str, ends: int = 0) -> tuple[str, str]:
        """Run the command line in this process; what it printed on standard output, and on standard error."""
        done = self.command(*arguments)
        assert done.code == ends, done.err
        return done.out, done.err

    def versions(self) -> list[tuple[int, str, bool]]:
        rows = json.loads(self.run("versions", "--stack", STACK, "--json")[0])
        return [(row["number"], row["build"], row["live"]) for row in rows]

    def live(self) -> set[str]:
        """The builds that answer when an alias is invoked."""
        aws = self._client("lambda")
        return {
            aws.get_function_configuration(FunctionName=f"{STACK}-{name}", Qualifier="live")["Environment"][
                "Variables"
            ][VARIABLES["build"]]
            for name in NAMES
        }


def _template(built: str, *, keeps: bool) -> dict[str, Any]:
    resources: dict[str, Any] = {
        "Table": {**table_resource(), **({"DeletionPolicy": "RetainExceptOnCreate"} if keeps else {})},
        "Bucket": {"Type": "AWS::S3::Bucket"},
        "Queue": {"Type": "AWS::SQS::Queue"},
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}},
        },
    }
    for name in NAMES:
        function = function_resource(name, "unused")
        function["Properties"] |= {"FunctionName": f"{STACK}-{name}", "Code": {"ZipFile": CODE}, "Layers": []}
        function["Properties"]["Environment"]["Variables"][VARIABLES["build"]] = built
        title, reference = name.capitalize(), {"Ref": f"{name.capitalize()}Function"}
        resources[f"{title}Function"] = function
        resources[f"{title}Version{built}"] = {
            "Type": "AWS::Lambda::Version",
            "DeletionPolicy": "RetainExceptOnCreate",
            "Properties": {"FunctionName": reference},
        }
        resources[f"{title}Live"] = {
            "Type": "AWS::Lambda::Alias",
            "Properties": {
                "FunctionName": reference,
                "FunctionVersion": {"Fn::GetAtt": [f"{title}Version{built}", "Version"]},
                "Name": "live",
            },
        }
    return {"Resources": resources, "Outputs": {"TableName": {"Value": {"Ref": "Table"}}}}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clouds.LocalCloud]:
    folder: Path = tmp_path_factory.mktemp("releases")
    with states.held(folder) as state, clouds.running(state) as cloud:
        yield cloud


@pytest.fixture
def deployment(
    shared: clouds.LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Deployment]:
    for name, value in shared.environment.items():
        monkeypatch.setenv(name, value)
    clients._session.cache_clear()
    made = Deployment(shared, Command(monkeypatch, capsys))
    yield made
    made.formation.delete_stack(StackName=STACK)
    made.formation.get_waiter("stack_delete_complete").wait(StackName=STACK, WaiterConfig={"Delay": 0.1})
    clients._session.cache_clear()


def test_versions_are_numbered_and_any_of_them_can_be_live_again(deployment: Deployment) -> None:
    deployment.deploy(1)
    assert deployment.versions() == [(1, build(1), True)]
    deployment.deploy(2)
    assert deployment.versions() == [(2, build(2), True), (1, build(1), False)]
    out, err = deployment.run("deploy", "--rollback", "--stack", STACK)
    assert "Version 1 is live in Crews." in out
    assert err.splitlines() == ["api: version 1 is live", "worker: version 1 is live"]
    assert deployment.live() == {build(1)}
    assert deployment.versions() == [(2, build(2), False), (1, build(1), True)]
    out, _ = deployment.run("deploy", "--rollback", "--to", "2", "--stack", STACK, "--json")
    told = json.loads(out)
    assert (told["number"], told["build"], told["changed"]) == (2, build(2), True)
    assert deployment.live() == {build(2)}


def test_the_same_build_that_is_deployed_again_is_live_again(deployment: Deployment) -> None:
    deployment.deploy(1)
    deployment.versions()
    deployment.deploy(2)
    deployment.run("deploy", "--rollback", "--stack", STACK)
    deployment.deploy(2)
    assert deployment.live() == {build(1)}, "CloudFormation sees no change"
    assert releases.settle(STACK).number == 2
    assert deployment.live() == {build(2)}


def test_a_build_that_comes_back_after_others_is_the_same_version(deployment: Deployment) -> None:
    for number in (1, 2, 1):
        deployment.deploy(number)
        deployment.versions()
    assert deployment.versions() == [(2, build(2), False), (1, build(1), True)]
    deployment.run("deploy", "--rollback", "--to", "2", "--stack", STACK)
    assert deployment.live() == {build(2)}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("deploy", "--rollback"), 4, "Error: Version 1 is live, and there is none before it."),
        (("deploy", "--rollback", "--to", "4"), 3, "Error: There is no version 4; there are 1, and"),
        (("deploy", "--to", "4"), 2, "Error: --to names the version of a rollback; add --rollback."),
        (("versions", "--stack", "Nobodys"), 3, "Error: There is no stack Nobodys in this account"),
        (("destroy", "--stack", "Nobodys", "--yes"), 3, "Error: There is no stack Nobodys in this account"),
        (("destroy",), 2, "Error: Remove stack Crews? There is nobody to ask here; say --yes."),
    ],
)
def test_what_cannot_be_done_is_one_line_with_the_way_out(
    deployment: Deployment, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    deployment.deploy(1)
    deployment.versions()
    own = () if "--stack" in arguments else ("--stack", STACK)
    _, err = deployment.run(*arguments, *own, ends=code)
    assert err.splitlines()[-1].startswith(sentence)
    assert deployment.live() == {build(1)}


def test_what_stays_is_said_before_a_stack_goes_and_stays(deployment: Deployment) -> None:
    deployment.deploy(1)
    deployment.deploy(2)
    table = deployment.formation.describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"][0]["OutputValue"]
    out, err = deployment.run("destroy", "--stack", STACK, "--yes", "--json")
    told = json.loads(out)
    assert told["kept"] == [{"type": "AWS::DynamoDB::Table", "name": table}]
    announced = err.splitlines()
    assert "2 Lambda::Alias, 2 Lambda::Function" in announced[0]
    assert f"table {table}" not in announced[0]
    assert announced[1].startswith("A bucket that goes must be empty")
    assert announced[2] == f"These stay, with all that is in them: table {table}."
    assert "ApiFunction" in announced
    assert deployment._client("dynamodb").describe_table(TableName=table)
    assert json.loads(deployment.run("destroy", "--stack", STACK, ends=3)[0] or "null") is None
    deployment._client("dynamodb").delete_table(TableName=table)


def test_a_person_is_told_and_asked_and_sees_how_far_it_is(deployment: Deployment) -> None:
    deployment.deploy(1)
    code, said = _answered("n")
    assert code == 2
    assert "These stay, with all that is in them: table" in said
    assert "Nothing was changed; the answer was no." in said
    assert deployment.live() == {build(1)}
    code, said = _answered("y")
    assert code == 0
    assert "Removing Crews" in said
    assert "Stack Crews is removed." in said
    deployment.run("versions", "--stack", "Crews", ends=3)


def test_a_person_sees_the_versions_in_a_table(deployment: Deployment) -> None:
    for number in (1, 2):
        deployment.deploy(number)
        deployment.versions()
    heading, first, second = deployment.run("versions", "--stack", "Crews")[0].splitlines()
    assert heading.split() == ["version", "build", "since"]
    assert first.split()[:2] == ["2", build(2)]
    assert first.split()[-1] == "live"
    assert second.split()[:2] == ["1", build(1)]
    assert len(second.split()) == 4


def _answered(answer: str) -> tuple[int, str]:
    """Remove the stack on a terminal and answer the question; how it ended, and all that it printed."""
    with terminal("destroy", "--stack", "Crews") as person:
        person.until(lambda lines: any("[y/N]" in line for line in lines))
        person.process.sendline(answer)
        return person.ended(), person.printed.decode()
