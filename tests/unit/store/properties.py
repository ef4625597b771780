"""How many examples a property is tried on, and that a busy machine fails none of them."""

from hypothesis import settings

settings.register_profile("crewline", max_examples=40, deadline=None, database=None)
settings.load_profile("crewline")
