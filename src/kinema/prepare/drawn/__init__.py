"""The synthetic sample dataset of drawn motions."""
