"""Features of long videos, computed by recognizers."""
