"""LangGraph's protocol v2: commands to a thread, and everything that happens on it as one stream of events."""
