"""Candidates of BSN as the data of PEM."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from kinema.data.batch import Batch
from kinema.data.loader import EvalBatches, load
from kinema.data.patience import Patience
from kinema.data.samples import Sample, SampleDataset, SampleKey
from kinema.storage import StorageOptions
from kinema.tasks.localization.bsn.candidate_files import Described, read_described
from kinema.tasks.localization.data import LoadingOptions, MakeLabels, Split
from kinema.tasks.localization.videos import Videos


@dataclass(kw_only=True)
class ProposalData(LoadingOptions):
    """Candidates that proposal generation has left behind, and the ground truth."""

    proposals: str = ""
    """Folder that `kinema prepare candidates` has written."""
    train_candidates: Annotated[int, Ge(1)] = 500
    """Candidates of a video to train on, the most probable ones."""

    @property
    def patience(self) -> float:
        """Seconds to wait for a storage: candidates are local files."""
        return 0.0

    @property
    def reads(self) -> str:
        """What is read, for the log."""
        return f"candidates of {self.proposals}"

    def input_shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of a candidate's features, (C,)."""
        return (channels,)

    def open(self, splits: Sequence[Split], _channels: int, _grid_offset: float, /) -> "list[CandidateSplit]":
        """See `LoadingOptions`."""
        return [CandidateSplit(videos=Videos(truth=split.truth), data=self) for split in splits]


@dataclass(frozen=True, kw_only=True)
class CandidateSplit:
    """Videos of one use, and their candidates; see `OpenSplit`."""

    videos: Videos
    data: ProposalData

    def train_batches(
        self, order: Sampler[list[SampleKey]], _labels: MakeLabels, *, seed: int, workers: int, pin: bool
    ) -> DataLoader[Batch[Tensor]]:
        """Training batches in the given order, whose labels the candidates have; a random video replaces a bad one."""
        dataset = ProposalDataset(self.videos, self.data, seed=seed, replace=True)
        return load(dataset, order, workers=workers, pin=pin)

    def eval_batches(
        self, *, workers: int, rank: int = 0, world: int = 1, pin: bool = False
    ) -> DataLoader[Batch[Tensor]]:
        """Every video once; process `rank` of `world` has its share."""
        order = EvalBatches(len(self.videos), self.data.val_batch_size, rank=rank, world=world)
        return load(ProposalDataset(self.videos, self.data), order, workers=workers, pin=pin)

    def read(self, row: int) -> Described:
        """Read the candidates of a video.

        Raises:
            MediaError: there are none, or the file is damaged.
        """
        return read_described(self.data.proposals, self.videos.name(row))


class ProposalDataset(SampleDataset[Tensor, Tensor]):
    """Features (n, C) and overlaps (n,) of the candidates of videos, in training of the most probable ones.

    A batch has the candidates of all its videos, one after the other.
    """

    def __init__(self, videos: Videos, options: ProposalData, *, seed: int = 0, replace: bool = False) -> None:
        patience = Patience(StorageOptions().patience)
        super().__init__(len(videos), seed=seed, replace=replace, patience=patience, generator=np.random.default_rng)
        self._videos, self._folder = videos, options.proposals
        self._most = options.train_candidates if replace else None

    def read(self, key: SampleKey, _rng: np.random.Generator, _out: Tensor | None, /) -> Sample[Tensor]:
        """Read the candidates of a video."""
        described = read_described(self._folder, self._videos.name(key.row))
        features, overlaps = described.features[: self._most], described.overlaps[: self._most]
        return Sample(torch.from_numpy(features), torch.from_numpy(overlaps))

    def stack_inputs(self, inputs: list[Tensor]) -> Tensor:
        """Return the features of all candidates, (N, C)."""
        return torch.cat(inputs)

    def stack_targets(self, targets: list[Tensor]) -> Tensor:
        """Return the overlaps of all candidates, (N,)."""
        return torch.cat(targets) if targets else torch.empty(0)
