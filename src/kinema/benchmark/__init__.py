"""Measures the real verbs as the training-speed benchmark defines it, beside other toolboxes, and reads their logs."""
