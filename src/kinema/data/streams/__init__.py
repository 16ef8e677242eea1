"""Frames of a video or a live stream in order, and the clips of windows along it."""
