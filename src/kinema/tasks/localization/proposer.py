"""Trained localizers that propose segments of a raw video from its features."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.runtime.device import RuntimeOptions, autocast, pick_device, to_device
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.models import load_model


@dataclass(frozen=True, kw_only=True)
class Proposer:
    """A localizer in use, of one network or several."""

    folders: tuple[Path, ...]
    """Folders of the networks' files, in the order in which they run."""
    data: Any
    """Features that it was trained on."""
    channels: int
    """Features that it takes at each point in time."""
    parts: int | None
    """Points in time that it takes features at; None: any number."""
    propose: Callable[[Tensor], Proposals]
    """Returns segments as fractions of the video, best first, from features (C, T), T = `parts`."""
    classes: tuple[str, ...] = ()
    """Names of the labels, if segments have them."""


def load_network(folder: Path, runtime: RuntimeOptions) -> Callable[..., Any]:
    """Return the forward pass of the network in `folder`, in inference mode, for inputs on the CPU.

    Raises:
        UserError: its files are damaged.
    """
    device = pick_device(runtime)
    network = to_device(load_model(folder)[0], device, runtime)

    @torch.inference_mode()
    def forward(*inputs: Tensor) -> Any:
        with autocast(device, runtime):
            return network(*(each.to(device) for each in inputs))

    return forward
