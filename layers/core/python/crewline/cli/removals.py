"""`crewline destroy`: a deployment out of an AWS account."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from crewline.cli import screens
from crewline.cli.options import STACK, AsJson, Stack, Yes
from crewline.cli.progress import progress

if TYPE_CHECKING:
    from crewline.store.removals import Removal, Resource

_DATA: Final = {"AWS::DynamoDB::Table": "table", "AWS::S3::Bucket": "bucket", "AWS::SQS::Queue": "queue"}
"""Kinds that hold what people have stored, and what they are called; the others are counted."""


def destroy(stack: Stack = STACK, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove a deployment from the AWS account and region of this environment.

    Before it asks, it says what goes and what stays: table, bucket, queues and logs stay with all that is
    in them, unless `removal_policy` was DESTROY at the last deploy.
    """
    from crewline.store.removals import Removal

    removal = Removal(stack)
    staying = [one for one in removal.resources if one.stays]
    going = [one for one in removal.resources if not one.stays]
    _announce(stack, going, staying)
    screens.confirm(f"Remove stack {stack}?", yes=yes)
    _carry_out(stack, removal)
    if as_json:
        kept = [{"type": one.kind, "name": one.name} for one in staying]
        screens.print_json({"stack": stack, "removed": len(going), "kept": kept})
        return
    screens.console().print(f"Stack {stack} is removed.", markup=False)


def _carry_out(stack: str, removal: Removal) -> None:
    with progress(f"Removing {stack}", total=len(removal.resources)) as done:
        try:
            for logical_id in removal.carry_out():
                done(logical_id)
        except KeyboardInterrupt:
            screens.notes().print(
                f"The removal goes on without you; crewline destroy --stack {stack} looks at it again.",
                markup=False,
            )
            raise


def _announce(stack: str, going: list[Resource], staying: list[Resource]) -> None:
    notes = screens.notes()
    notes.print(f"Of stack {stack} these go: {_listed(going)}.", markup=False)
    if any(one.kind == "AWS::S3::Bucket" for one in going):
        notes.print(
            "A bucket that goes must be empty; whatever is in table and queues is lost.", markup=False
        )
    if staying:
        notes.print(f"These stay, with all that is in them: {_listed(staying)}.", markup=False)
    else:
        notes.print("Nothing stays: all threads, runs and API keys are lost.", markup=False)


def _listed(resources: list[Resource]) -> str:
    named = [f"{_DATA[one.kind]} {one.name}" for one in resources if one.kind in _DATA]
    counted = Counter(_plain(one.kind) for one in resources if one.kind not in _DATA)
    return ", ".join([*named, *(f"{count} {kind}" for kind, count in sorted(counted.items()))]) or "nothing"


def _plain(kind: str) -> str:
    """Spell a kind of CloudFormation shorter: `Lambda::Function`."""
    return kind.removeprefix("AWS::")
