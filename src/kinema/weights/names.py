"""Names of a model's files."""

from pathlib import Path

WEIGHTS, DESCRIPTION, PIPELINE = "model.safetensors", "model.json", "pipeline.json"
ONNX, TORCH = ".onnx", ".pt2"
"""Suffixes of exported files."""


def is_exported(model: str | Path) -> bool:
    """Return whether a MODEL is named as an exported file."""
    return Path(model).suffix.lower() in (ONNX, TORCH)
