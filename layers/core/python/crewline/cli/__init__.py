"""The `crewline` command."""
