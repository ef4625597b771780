"""What a function's `bootstrap` runs: the real Lambda runtime client, ended with its emulator.

`python -m crewline.local.worker handler.handler KEPT` is `python -m awslambdaric handler.handler` with a
lifeline: an emulator that was killed leaves no worker behind in the middle of a crew. The modules of the project
are those of KEPT, see `crewline.local.sources`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from awslambdaric.__main__ import main as serve

from crewline.local import lifelines, sources


def main() -> None:
    """Serve a function's invocations until the emulator ends this process or disappears."""
    lifelines.when_output_closes(lambda: os._exit(1))
    sources.pin(Path(sys.argv.pop()))
    serve(sys.argv)


if __name__ == "__main__":
    main()
