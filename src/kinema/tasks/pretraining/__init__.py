"""Pre-training on unlabeled videos: a network reconstructs hidden parts of clips."""
