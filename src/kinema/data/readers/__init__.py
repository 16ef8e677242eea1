"""Readers of frames: video files, folders of images, packed files."""
