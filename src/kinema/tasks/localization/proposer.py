"""Trained localizers that propose segments of a raw video from its features."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from kinema.data.features.rescaling import Rescaling, rescale
from kinema.data.features.spans import FeatureSpan
from kinema.runtime.device import RuntimeOptions, autocast, pick_device, to_device
from kinema.tasks.localization.data.windows import Suppress, WindowOptions, merge_windows, windows_of_blocks
from kinema.tasks.localization.metrics.results import Proposals, in_seconds
from kinema.tasks.localization.metrics.segments import Singles
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
    """Proposes segments of a video that is cut into windows; None: videos are not cut."""
    classes: tuple[str, ...] = ()
    """Names of the labels, if segments have them."""


class WindowProposer(Protocol):
    """Proposes segments of a video in the windows of its data, without holding more than one of them."""

    def propose(self, blocks: Iterator[Singles], rows: int, span: FeatureSpan) -> Proposals:
        """Return segments in seconds, best first.

        Args:
            blocks: (n, C) consecutive features.
            rows: number of all features.
            span: of all features.
        """


@dataclass(frozen=True, kw_only=True)
class GridWindows:
    """Proposals in windows that are brought to `parts` points each; see `WindowProposer`."""

    options: WindowOptions
    parts: int
    rescaling: Rescaling
    candidates: Callable[[Tensor], Proposals]
    """Returns candidates, before suppression, as fractions of a window, from its features (C, T)."""
    suppress: Suppress
    """Selects among those of all windows."""

    def propose(self, blocks: Iterator[Singles], rows: int, span: FeatureSpan) -> Proposals:
        """Return segments in seconds, best first."""
        parts = self.options.bounds(rows, self.options.rows(rows, span))
        spans = [span.part(*part) for part in parts.tolist()]
        windows = windows_of_blocks(blocks, np.rint(parts * rows).astype(np.int64))
        found = [
            in_seconds(self.candidates(network_input(window, self.parts, self.rescaling)), of)
            for window, of in zip(windows, spans, strict=True)
        ]
        return merge_windows(found, spans, tolerance=1 / self.parts, suppress=self.suppress)


def network_input(features: Singles, parts: int | None, rescaling: Rescaling) -> Tensor:
    """Bring features (T, C) to what a network takes, (C, `parts`); without `parts`, (C, T)."""
    if parts is not None:
        features = rescale(features, parts, mode=rescaling)
    return torch.from_numpy(np.ascontiguousarray(features.T))


def proposer_of(
    candidates: Callable[[Tensor], Proposals],
    suppress: Suppress,
    *,
    folders: tuple[Path, ...],
    trained: Description[Any, Any, Any],
) -> Proposer:
    """Return the proposer of a localizer that finds candidates and suppresses some of them.

    Args:
        candidates: see `GridWindows`; of a video that is not cut, in fractions of it.
        suppress: selection of proposals.
        folders: see `Proposer`.
        trained: description of the network that takes the features.
    """
    data, in_windows = trained.data, None
    if data.windows:
        in_windows = GridWindows(
            options=data.windows, parts=data.parts, rescaling=data.rescaling, candidates=candidates, suppress=suppress
        )
    return Proposer(
        folders=folders,
        data=data,
        channels=trained.model.feature_channels,
        parts=data.parts,
        propose=lambda features: suppress(candidates(features), 1),
        in_windows=in_windows,
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
