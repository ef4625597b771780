"""The rules: what may happen to threads and runs, and in which one write."""
