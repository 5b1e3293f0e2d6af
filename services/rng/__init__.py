"""The rng service."""
