"""Trained localizers that propose segments of a raw video from its features."""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from kinema.runtime.device import RuntimeOptions, autocast, pick_device, to_device
from kinema.tasks.localization.data import FeatureData
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.models import load_model
from kinema.weights.model_files import AnyDescription


class Proposer(Protocol):
    """A localizer in use, of one network or several."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of the networks' files, in the order in which they run."""

    @property
    def data(self) -> FeatureData:
        """Features that it was trained on."""

    @property
    def channels(self) -> int:
        """Features that it takes at each point in time."""

    def propose(self, features: Tensor) -> Proposals:
        """Return segments as fractions of the video, best first, from features (C, T), T = `data.parts`."""


class FeatureNetwork:
    """A trained network whose input is the features of a video.

    Attributes:
        data: features that it was trained on.
        channels: features that it takes at each point in time.
        folders: the folder of its files.
    """

    def __init__(self, folder: Path, description: AnyDescription, runtime: RuntimeOptions) -> None:
        self.folders: tuple[Path, ...] = (folder,)
        self.data: FeatureData = description.data
        self.channels: int = description.model.feature_channels
        self.device, self.runtime = pick_device(runtime), runtime
        self.network = to_device(load_model(folder)[0], self.device, runtime)

    @torch.inference_mode()
    def output(self, features: Tensor) -> Any:
        """Return the network's output for features (C, T), as a batch of one video."""
        with autocast(self.device, self.runtime):
            return self.network(features[None].to(self.device))


class FeatureProposer(FeatureNetwork):
    """A localizer of one network, which reads features; see `Proposer`."""

    def __init__(self, folder: Path, description: AnyDescription, runtime: RuntimeOptions) -> None:
        super().__init__(folder, description, runtime)
        self._task = description.task

    def propose(self, features: Tensor) -> Proposals:
        """Return segments as fractions of the video, best first."""
        (proposals,) = self._task.decode(self.output(features))
        return proposals
