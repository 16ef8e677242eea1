"""Attention over the features of a video's frames, which knows their order."""

import math

import torch
from torch import Tensor, nn

from kinema.models.attentive_probe import AttentiveProbe


class FrameAttention(nn.Module):
    """An attentive probe of frames' features: `(N, S, channels)`, in the order of time → `(N, width)`.

    The features are normalized, projected to `width`, and get a sinusoidal embedding (Vaswani et al., 2017, section
    3.5) of their relative position in time, which is the same for any number of frames.
    """

    def __init__(self, channels: int, width: int, *, depth: int, heads: int) -> None:
        super().__init__()
        self.width = width
        self.norm = nn.LayerNorm(channels)
        self.proj = nn.Linear(channels, width)
        self.probe = AttentiveProbe(width, depth=depth, heads=heads, eps=1e-5)

    def forward(self, features: Tensor) -> Tensor:
        """Return what the probe gathers from the frames."""
        x = self.proj(self.norm(features))
        out: Tensor = self.probe(x + relative_positions(x.shape[1], x.shape[2]).to(x))
        return out


def relative_positions(frames: int, width: int) -> Tensor:
    """Return the embedding of the centres of `frames` equal parts of a video, `(frames, width)` float32.

    Channels 2i and 2i + 1 are the sine and cosine of position · π · 32^(2i / width), for positions from 0 to 1.
    """
    positions = (torch.arange(frames, dtype=torch.float64) + 0.5) / frames
    angles = positions[:, None] * math.pi * 32.0 ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).float()
