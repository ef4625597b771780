"""Fuzz the API by its own OpenAPI document: `python -m tests.fuzz --seed 1 --examples 60`."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.fuzz.runs import fuzz


def main() -> int:
    """Fuzz, and say with what seed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--examples", type=int, default=40, help="of each operation, in each phase")
    given = parser.parse_args()
    sys.stdout.write(f"seed {given.seed}; the same again: python -m tests.fuzz --seed {given.seed}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="crewline-fuzz-") as folder:
        return fuzz(Path(folder), f"--seed={given.seed}", f"--max-examples={given.examples}").returncode


if __name__ == "__main__":
    sys.exit(main())
