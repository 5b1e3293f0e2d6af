"""Faults that the lab can have: what they are, how each one shows, and how they are switched on and off."""
