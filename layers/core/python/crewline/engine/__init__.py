"""Loading and executing crews; the only package that knows LangGraph."""
