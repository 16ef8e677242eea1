"""Datasets made ready."""
