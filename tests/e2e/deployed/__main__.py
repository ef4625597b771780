"""The real stack on the local cloud, from `cdk bootstrap` to `cdk destroy`: `python -m tests.e2e.deployed`.

What runs are the deployed functions: their zips and layers, in processes of Lambda's runtime. Only what is sent to
them and what they call is emulated.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console

from crewline.local import clouds, states
from crewline.local.failures import LocalServiceError
from tests.e2e.deployed import access, crews, releases, suites, updates
from tests.e2e.deployed.deployments import ROOT, Deployed, Deployer
from tests.e2e.deployed.runtimes import RuntimeUnavailable, make_runtimes
from tests.e2e.deployed.steps import CheckFailed, Steps
from tests.node import NodeMissing, installed

_EXAMPLES: Final = "Crewline"
_BASIC: Final = "Basic"
_FOREIGN: Final = "Foreign"
_CONFORMANCE: Final = "Conformance"
_PROJECTS: Final = ROOT / "tests" / "projects"


def main() -> int:
    """Deploy, check, update, destroy.

    Returns:
        The exit code: 0; 1 when a check failed; 2 when this machine cannot run it.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.deployed", description=__doc__)
    parser.add_argument(
        "--state", type=Path, default=ROOT / ".crewline" / "e2e", help="folder for all it makes"
    )
    parser.add_argument(
        "--conformance",
        type=Path,
        help="a conformance suite, with the LangGraph project that it needs beside it",
    )
    given = parser.parse_args()
    if given.conformance and not given.conformance.is_file():
        parser.error(f"there is no conformance suite at {given.conformance}")
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)
    steps = Steps(console)
    try:
        with _cloud(given.state, steps) as (deployer, function_log):
            _Walk(deployer, steps, given.state, function_log).through(given.conformance)
    except (NodeMissing, RuntimeUnavailable, LocalServiceError) as exc:
        console.print(f"Error: {exc}", markup=False)
        return 2
    except CheckFailed as exc:
        console.print(str(exc), markup=False)
        steps.show()
        return 1
    steps.show()
    return 0


@contextmanager
def _cloud(folder: Path, steps: Steps) -> Iterator[tuple[Deployer, Path]]:
    with states.held(folder) as state:
        with steps.step("install the CDK command line and the functions' runtime"):
            cdk = installed(ROOT / "tests" / "cdk") / ".bin"
            runtimes = make_runtimes(folder / "runtimes")
        _empty(state)
        with clouds.running(state, runtimes=runtimes) as cloud:
            yield Deployer(cloud, cdk, folder), state.function_log
        with steps.step("remove what the local cloud kept"):
            _empty(state)


def _empty(state: states.StateFolder) -> None:
    # Every cloud is a new one; what stays is what takes long to make, and the logs.
    for folder in (state.services, state.objects, state.temporary):
        shutil.rmtree(folder)
        folder.mkdir()


class _Walk:
    """The steps, in their order."""

    def __init__(self, deployer: Deployer, steps: Steps, folder: Path, function_log: Path) -> None:
        self._deployer = deployer
        self._steps = steps
        self._folder = folder
        self._function_log = function_log

    def through(self, conformance: Path | None) -> None:
        step, deployer = self._steps.step, self._deployer
        with step("cdk bootstrap"):
            deployer.bootstrap()
        examples = self._deploy(_EXAMPLES, None)
        with step("keys: without one, with the wrong one, with one that is revoked"):
            revoked = access.check_keys(deployer, examples)
        with step("example crews: a run by the queue, a question and its answer"):
            self._steps.say(crews.use_examples(examples))
        project = self._copy("basic")
        updates.add_gated_crew(project)
        basic = self._deploy(_BASIC, project)
        with step("a thread that begins with supersteps"):
            self._steps.say(crews.begin_with_supersteps(basic))
        with step("a run that a message starts"):
            self._steps.say(crews.start_by_message(deployer, basic))
        with step("tests of this repository, with the official clients"):
            self._steps.say(suites.run_own(basic, self._folder / "own.log"))
        self._update(basic, project)
        self._roll_back(basic)
        with step("crewline deploy of a project with requirements of its own"):
            foreign = deployer.deploy_project(_FOREIGN, self._copy("foreign"))
        with step("both crews of that project"):
            self._steps.say(crews.use_foreign(foreign))
        made = [examples, basic, foreign]
        if conformance:
            made.append(self._deploy(_CONFORMANCE, conformance.resolve().parent))
            with step("conformance suite"):
                log = self._folder / "conformance.log"
                self._steps.say(suites.run_conformance(conformance, made[-1], log))
        else:
            self._steps.say("Conformance suite: left out, for none was given (make e2e CONFORMANCE=PATH).")
        with step("a key is refused within a minute of its revocation"):
            self._steps.say(access.check_revoked(examples, revoked))
        with step("the sweeper, every minute by the schedule"):
            self._steps.say(crews.read_sweeps(self._function_log))
        for deployed in made:
            own = deployed is foreign
            with step(f"{'crewline' if own else 'cdk'} destroy {deployed.stack}"):
                self._steps.say(deployer.destroy(deployed, by_crewline=own))

    def _copy(self, name: str) -> Path:
        """Copy a project: it is changed, or its folder takes what is made of it."""
        project = self._folder / name
        shutil.rmtree(project, ignore_errors=True)
        return Path(shutil.copytree(_PROJECTS / name, project))

    def _deploy(self, stack: str, project: Path | None) -> Deployed:
        with self._steps.step(f"cdk deploy {stack}"):
            return self._deployer.deploy(stack, self._deployer.synth(stack, project))

    def _update(self, basic: Deployed, project: Path) -> None:
        with self._steps.step("a run says of which version it is"):
            self._steps.say(releases.expect_version(basic, 1))
        with self._steps.step("change the project's code and synthesise it"):
            updates.change_echo(project)
            changed = self._deployer.synth(_BASIC, project)
        with self._steps.step("cdk deploy Basic while runs are in flight"):
            gate = self._folder / "gate"
            gate.unlink(missing_ok=True)
            update = partial(self._deployer.deploy, _BASIC, changed)
            self._steps.say(updates.update_in_flight(basic, update, gate))
            crews.expect_echo(basic, "echo again: ")
            self._steps.say(releases.expect_version(basic, 2))

    def _roll_back(self, basic: Deployed) -> None:
        with self._steps.step("crewline deploy --rollback of Basic while runs are in flight"):
            gate = self._folder / "gate of the rollback"
            gate.unlink(missing_ok=True)
            back = partial(releases.roll_back, self._deployer, basic)
            self._steps.say(updates.update_in_flight(basic, back, gate))
            crews.expect_echo(basic, "echo: ")
            self._steps.say(releases.expect_version(basic, 1))


if __name__ == "__main__":
    sys.exit(main())
