"""Localization of raw videos."""
