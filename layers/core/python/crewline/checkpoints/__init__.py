"""The record codec, the fold and the projection to JSON; free of LangGraph, so that the control plane can read state."""
