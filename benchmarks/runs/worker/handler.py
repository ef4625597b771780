"""The service's worker, seen: stands in for `functions/worker` on the local cloud of the benchmark."""

import runpy

from benchmarks.runs.hooks import watch_worker

watch_worker()

from crewline import locations  # noqa: E402  (what the product imports from here on is watched)

handler = runpy.run_path(str(locations.FUNCTIONS / "worker" / "handler.py"))["handler"]
