"""A library of the project's own, in a distribution with its packages in `src`."""

import os

import inflection


def greet(name: str) -> str:
    """Greet somebody as the environment says."""
    return f"{os.environ.get('FOREIGN_GREETING', 'Hello')}, {inflection.titleize(name)}!"
