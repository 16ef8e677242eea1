"""Kinema and other toolboxes, timed in turn on the same models and batches."""
