"""Iteration times read from training logs of Kinema and other toolboxes."""

from kinema.benchmark.logs.reading import TOOLS, LogFigures, read_log

__all__ = ["TOOLS", "LogFigures", "read_log"]
