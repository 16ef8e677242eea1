"""Preparation of datasets: re-encoding, frames, optical flow, packed files, checks and lists."""
