"""The drawn sample dataset."""
