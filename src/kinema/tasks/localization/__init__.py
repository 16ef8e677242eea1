"""Localization: when things happen in a long video. Its tasks, proposals and metrics."""
