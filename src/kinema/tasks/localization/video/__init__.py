"""Segments of raw videos."""
