"""Inputs and description of exported localizers."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.data.features.rescaling import rescale
from kinema.errors import MediaError, UserError
from kinema.tasks.localization.options import LocalizerDescription

_SCRIPT = """\
# Runs {file} without Kinema: pip install onnxruntime numpy
import json
import sys

import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession({file!r}, providers=["CPUExecutionProvider"])
metadata = session.get_modelmeta().custom_metadata_map
inputs = json.loads(metadata["inputs"])
features = np.load(sys.argv[1]).astype(np.float32).T[None]  # (T, C) in the file, (N, C, T) in the graph
feeds = {{"features": features.reshape(-1, *inputs[0]["shape"][1:]) if features.ndim == 3 else features}}
{padding}for entry, output in zip(json.loads(metadata["outputs"]), session.run(None, feeds)):
    print(entry, output.shape, output.dtype)
"""

_PADDING = """\
length = inputs[0]["shape"][2]
mask = np.arange(length)[None] < features.shape[2]
feeds = {"features": np.pad(features, ((0, 0), (0, 0), (0, length - features.shape[2]))), "mask": mask}
"""


def export_metadata(description: LocalizerDescription) -> dict[str, Any]:
    """Return how the features are made, as far as the network depends on it."""
    data = description.data
    names = ("parts", "rescaling", "max_length", "windows")
    known = {name: getattr(data, name) for name in names if hasattr(data, name)}
    if "windows" in known:
        known["windows"] = asdict(known["windows"])
    return {"preprocessing": {"layout": "N C T", "channels": description.model.feature_channels, **known}}


def export_script(file: Path, inputs: Mapping[str, Tensor]) -> str:
    """Return a program that computes the outputs for features in an .npy file."""
    return _SCRIPT.format(file=str(file), padding=_PADDING if "mask" in inputs else "")


def read_features(path: str, description: LocalizerDescription) -> Tensor:
    """Return the features (C, T) of a video, or those (C,) of a proposal, in an .npy file.

    Raises:
        MediaError: the file cannot be read.
        UserError: the features do not fit the network.
    """
    try:
        features = np.asarray(np.load(path, allow_pickle=False), np.float32)
    except (OSError, ValueError, EOFError) as error:
        raise MediaError(path, f"it is no .npy file of features: {error}") from error
    channels = description.model.feature_channels
    dimensions = len(description.data.input_shape(channels))
    if features.ndim != dimensions or features.shape[-1] != channels:
        raise UserError(f"{path}: features of shape {features.shape}; expected {'(T, ' * (dimensions > 1)}{channels})")
    if dimensions == 1:
        return torch.from_numpy(features)
    data = description.data
    if data.parts:
        features = rescale(features, data.parts, mode=data.rescaling)
    if len(features) > (longest := getattr(data, "max_length", len(features))):
        raise UserError(f"{path}: {len(features)} features are more than the {longest} that the exported graph takes")
    return torch.from_numpy(np.ascontiguousarray(features.T))


def as_tensors(output: Any) -> tuple[Tensor, ...]:
    """Return the tensors of an output that is a tensor or a named tuple of them."""
    return (output,) if isinstance(output, Tensor) else tuple(output)
