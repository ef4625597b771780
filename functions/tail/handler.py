"""Follows runs that execute elsewhere. Knows no LangGraph."""

import os

from crewline.processes import make_tail

answer = make_tail(os.environ).answer
