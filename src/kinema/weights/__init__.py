"""Model files, and reading the checkpoints of other tools."""
