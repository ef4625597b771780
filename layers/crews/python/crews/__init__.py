"""Example crews: a planner that refines a plan turn by turn, and a reviewer that asks before it reports."""
