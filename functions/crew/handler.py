"""Runs that execute in place, state and history: loads the crews."""

import os

from crewline.processes import make_crew

answer = make_crew(os.environ).answer
