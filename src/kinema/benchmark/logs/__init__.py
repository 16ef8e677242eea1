"""Seconds per iteration out of the training logs of Kinema and of other toolboxes."""

from kinema.benchmark.logs.reading import TOOLS, LogFigures, read_log

__all__ = ["TOOLS", "LogFigures", "read_log"]
