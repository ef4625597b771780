"""The Agent2Agent protocol: every assistant is an agent, a thread is a context, a run is a task."""
