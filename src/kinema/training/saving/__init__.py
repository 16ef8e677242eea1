"""What a run writes to its folder: config, checkpoints and metrics."""
