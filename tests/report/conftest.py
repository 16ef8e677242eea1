"""A browser that the tests of pages share."""

from tests.report.chromium import chromium

__all__ = ["chromium"]
