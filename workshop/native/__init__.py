"""The native way to run the lab, without Docker."""
