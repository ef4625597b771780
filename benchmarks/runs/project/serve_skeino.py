"""Serves the graph with skeino, everything in memory: `python serve_skeino.py PORT`."""

import sys

import uvicorn
from graphs import with_checkpointer  # type: ignore[import-not-found]  # beside this file
from skeino import SkeinoSettings, create_app  # type: ignore[import-not-found]  # in an environment of its own

app = create_app(graphs={"chat": with_checkpointer}, settings=SkeinoSettings())
# No line for each request, as the other servers have it.
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
