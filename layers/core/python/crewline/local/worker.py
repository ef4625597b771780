"""What a function's `bootstrap` runs: the real Lambda runtime client, ended with its emulator.

`python -m crewline.local.worker handler.handler` is `python -m awslambdaric handler.handler` with a
lifeline: an emulator that was killed leaves no worker behind in the middle of a crew.
"""

from __future__ import annotations

import os
import sys

from awslambdaric.__main__ import main as serve

from crewline.local import lifelines


def main() -> None:
    """Serve a function's invocations until the emulator ends this process or disappears."""
    lifelines.when_output_closes(lambda: os._exit(1))
    serve(sys.argv)


if __name__ == "__main__":
    main()
