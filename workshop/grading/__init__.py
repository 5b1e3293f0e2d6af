"""Grading: what the exercises in `labs/` check on the live system, their questions, and the progress."""
