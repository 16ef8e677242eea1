"""Resumable parallel work on many files."""
