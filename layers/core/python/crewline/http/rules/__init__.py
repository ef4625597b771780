"""The rules of routes: what a project's handlers are asked about a user's request."""
