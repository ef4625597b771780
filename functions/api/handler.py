"""The control plane: threads, runs, assistants. Knows no LangGraph."""

import os

from crewline.processes import make_api

answer = make_api(os.environ).answer
