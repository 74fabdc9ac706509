"""Measurements side by side; `python -m benchmarks.search --help`."""
