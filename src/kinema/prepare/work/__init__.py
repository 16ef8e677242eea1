"""Parallel, resumable work on many files."""
