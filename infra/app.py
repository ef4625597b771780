"""The CDK app of this repository: the example crews unless the context names another project.

`python infra/app.py --package` writes the template that the wheel carries.
"""

from __future__ import annotations

import argparse

from crewline import locations
from crewline_cdk.__main__ import main as synthesise
from crewline_cdk.packaging import packaged_template


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
    synthesise(locations.EXAMPLES)


if __name__ == "__main__":
    main()
