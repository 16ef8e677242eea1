"""The version, in a module that imports nothing, so that building a wheel does not need torch."""

__version__ = "0.2.0"
