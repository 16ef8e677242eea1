"""Scores of a clip classifier along a long video or a live stream, and segments from them."""
