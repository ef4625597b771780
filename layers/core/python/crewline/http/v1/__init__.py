"""The API of Crewship: the same services in other words."""
