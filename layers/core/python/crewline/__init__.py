"""Crewline: agent crews on AWS without servers."""
