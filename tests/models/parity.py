"""The reference implementation's weights, inputs and numbers, as `../shared/parity/README.md` describes them."""

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor


@dataclass(frozen=True)
class Keys:
    """What the reference says of a model: its state dict's shapes by key, its parameters, its input's shape."""

    shapes: dict[str, list[int]]
    parameters: list[str]
    parameter_count: int
    input_shape: list[int]


def keys(shared: Path, model: str) -> Keys:
    found = _json(shared / "parity" / "keys" / f"{model}.json")
    return Keys(
        shapes=found["state_dict"],
        parameters=found.get("parameters", []),
        parameter_count=found["params"],
        input_shape=found["input_shape"],
    )


@dataclass(frozen=True)
class Numbers:
    """What the reference computes: logits, then loss, gradient norms and running sums of one training step."""

    logits: Tensor
    train_loss: float
    grad_norm: dict[str, float]
    running_sum_after: dict[str, float]


def has_numbers(shared: Path, model: str) -> bool:
    return (shared / "parity" / "numbers" / f"{model}.json").exists()


def numbers(shared: Path, model: str) -> Numbers:
    found = _json(shared / "parity" / "numbers" / f"{model}.json")
    return Numbers(
        logits=load_file(shared / "parity" / "numbers" / f"{model}.safetensors")["eval"],
        train_loss=found["train_loss"],
        grad_norm=found["grad_norm"],
        running_sum_after=found.get("running_sum_after", {}),
    )


NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""What a batch norm holds."""


def expanded(modules: dict[str, str]) -> dict[str, list[int]]:
    """Keys and shapes of a network described module by module, as `benchmarks/foreign_numbers` writes it."""
    shapes: dict[str, list[int]] = {}
    for module, text in modules.items():
        words = text.split()
        if words[0] == "norm":
            tensors = [(leaf, [] if leaf == NORM[-1] else [int(words[1])]) for leaf in NORM]
        else:
            tensors = [
                (leaf, [int(n) for n in shape.split("x")]) for leaf, shape in zip(words[::2], words[1::2], strict=True)
            ]
        shapes |= {f"{module}.{leaf}".lstrip("."): shape for leaf, shape in tensors}
    return shapes


def state_dict(shapes: dict[str, list[int]], scales: Mapping[str, float] | None = None) -> dict[str, Tensor]:
    """The reference's weights, drawn from each key's own seed; scaled where one of the patterns `scales` matches."""
    weights = {key: _weight(key, shape) for key, shape in shapes.items()}
    for pattern, scale in (scales or {}).items():
        weights |= {key: value * scale for key, value in weights.items() if re.match(pattern, key)}
    return weights


def ruled_state_dict(shapes: dict[str, list[int]], rules: Sequence[tuple[str, str]]) -> dict[str, Tensor]:
    """The reference's weights by rules of its second set: the first whose pattern, searched in the key, is there."""
    return {key: _ruled(key, shape, rules) for key, shape in shapes.items()}


def _ruled(key: str, shape: list[int], rules: Sequence[tuple[str, str]]) -> Tensor:
    z = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF).standard_normal(shape)
    literal = {"1-D *.weight": len(shape) == 1 and key.endswith(".weight"), ">=2-D": len(shape) >= 2}
    formula = next(
        formula for rule, formula in rules if literal.get(rule, rule not in literal and re.search(rule, key))
    )
    fan_in = np.prod(shape[1:])
    values = {
        "zero": 0 * z,
        "0.1z": 0.1 * z,
        "1+0.1z": 1 + 0.1 * z,
        "1+0.1|z|": 1 + 0.1 * abs(z),
        "z*sqrt(1/fan_in)": z * np.sqrt(1 / fan_in),
        "z*sqrt(2/fan_in)": z * np.sqrt(2 / fan_in),
    }
    return torch.from_numpy(np.asarray(values[formula], np.float32))


def tensors(shared: Path, model: str) -> dict[str, Tensor]:
    """All recorded tensors of a model."""
    return load_file(shared / "parity" / "numbers" / f"{model}.safetensors")


def recorded(shared: Path, model: str) -> Any:
    """All that is recorded of a model beside its numbers."""
    return _json(shared / "parity" / "keys" / f"{model}.json")


def clips(input_shape: list[int], source: str = "mmaction2") -> Tensor:
    """The reference's clips as `(B, 3, T, H, W)`, which MMAction2 has as `(B, S, 3, H, W)` or `(B, 1, 3, T, H, W)`."""
    *leading, height, width = input_shape
    noise = np.random.RandomState(0).standard_normal((*leading, height // 8, width // 8))
    clips = torch.from_numpy(noise.repeat(8, -2).repeat(8, -1).astype(np.float32))
    if source != "mmaction2":
        return clips
    return clips.squeeze(1) if clips.dim() == 6 else clips.transpose(1, 2)


def pixels(channels: int, frames: int, size: int) -> Tensor:
    """Two clips `(2, channels, frames, size, size)` of uint8 pixels, constant in squares of 8×8."""
    squares = np.random.RandomState(0).randint(0, 256, (2, channels, frames, size // 8, size // 8))
    return torch.from_numpy(squares.repeat(8, -2).repeat(8, -1).astype(np.uint8))


def features(shape: list[int]) -> Tensor:
    """Normally distributed features of a video's parts."""
    return torch.from_numpy(np.random.RandomState(0).standard_normal(shape).astype(np.float32))


def labels(clips: int) -> Tensor:
    return 7 * torch.arange(clips) + 3


def _weight(key: str, shape: list[int]) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    z = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF).standard_normal(shape)
    if key.endswith(("running_mean", ".bias")):
        z = 0.1 * z
    elif key.endswith("running_var"):
        z = 1 + 0.1 * abs(z)
    elif len(shape) == 1:
        z = 1 + 0.1 * z
    else:
        z = z * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(z.astype(np.float32))


def _json(path: Path) -> Any:
    return json.loads(path.read_text())
