"""The hasher service."""
