"""Wire and domain types."""
