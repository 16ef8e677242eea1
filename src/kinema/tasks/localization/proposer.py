"""Trained localizers that propose segments of a raw video from its features."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.runtime.device import RuntimeOptions, autocast, pick_device, to_device
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.windows import Suppress
from kinema.tasks.models import load_model
from kinema.weights.model_files import Description


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
    in_windows: "WindowProposer | None" = None
    """How segments of a video that is cut into windows are proposed; None: it is not."""
    classes: tuple[str, ...] = ()
    """Names of the labels, if segments have them."""


@dataclass(frozen=True, kw_only=True)
class WindowProposer:
    """The two halves of a proposer of videos that are cut into the windows of its data."""

    candidates: Callable[[Tensor], Proposals]
    """Returns candidates, before suppression, as fractions of a window, from its features (C, T)."""
    suppress: Suppress
    """Selects among those of all windows."""


def proposer_of(
    candidates: Callable[[Tensor], Proposals],
    suppress: Suppress,
    *,
    folders: tuple[Path, ...],
    trained: Description[Any, Any, Any],
) -> Proposer:
    """Return the proposer of a localizer that finds candidates and suppresses some of them.

    Args:
        candidates: see `WindowProposer`; of a video that is not cut, in fractions of it.
        suppress: selection of proposals.
        folders: see `Proposer`.
        trained: description of the network that takes the features.
    """
    data = trained.data
    return Proposer(
        folders=folders,
        data=data,
        channels=trained.model.feature_channels,
        parts=data.parts,
        propose=lambda features: suppress(candidates(features), 1),
        in_windows=WindowProposer(candidates=candidates, suppress=suppress) if data.windows else None,
    )


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
