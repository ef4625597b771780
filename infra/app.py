"""The CDK app of the example crews: `cdk deploy`, or `python infra/app.py --package`."""

from __future__ import annotations

import argparse

from aws_cdk import App

from crewline import locations
from crewline_cdk.packaging import STACK_NAME, packaged_template
from crewline_cdk.stacks import CrewlineStack


def main() -> None:
    """Synthesise the stack for the CDK command line, or write the template that the wheel packages.

    Raises:
        BadManifest: The example crews have no manifest.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--package", action="store_true", help=f"write {locations.TEMPLATE.name}")
    if parser.parse_args().package:
        locations.TEMPLATE.parent.mkdir(exist_ok=True)
        locations.TEMPLATE.write_text(packaged_template())
        return
    app = App(analytics_reporting=False)
    CrewlineStack(app, STACK_NAME)
    app.synth()


if __name__ == "__main__":
    main()
