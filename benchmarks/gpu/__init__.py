"""Checks and measurements on a GPU, in one command of at most eight minutes: see `python -m benchmarks.gpu --help`."""
