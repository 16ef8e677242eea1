"""Recognition: which actions a clip shows."""
