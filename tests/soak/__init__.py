"""Longer than the test suite has time for: `make soak`."""
