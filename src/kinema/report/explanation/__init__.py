"""Explanations of predictions: where in a video, and when, a class was recognized."""
