"""The `workshop` command."""
