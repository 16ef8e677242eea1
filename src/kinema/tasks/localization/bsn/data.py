"""Candidates of BSN as the data of PEM."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from torch.utils.data import DataLoader, Dataset, Sampler

from kinema.data.batch import SampleKey
from kinema.data.loader import EvalBatches, load
from kinema.data.patience import Patience
from kinema.storage import StorageOptions
from kinema.tasks.localization.bsn.candidate_files import Described, read_described
from kinema.tasks.localization.data import Fetched, LoadingOptions, LocalizationBatch, MakeLabels, Split, fetch
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
    ) -> DataLoader[LocalizationBatch]:
        """Training batches in the given order, whose labels the candidates have; a random video replaces a bad one."""
        dataset = ProposalDataset(self.videos, self.data, seed=seed, replace=True)
        return load(dataset, order, collate=collate_candidates, workers=workers, pin=pin)

    def eval_batches(
        self, *, workers: int, rank: int = 0, world: int = 1, pin: bool = False
    ) -> DataLoader[LocalizationBatch]:
        """Every video once; process `rank` of `world` has its share."""
        order = EvalBatches(len(self.videos), self.data.val_batch_size, rank=rank, world=world)
        return load(
            ProposalDataset(self.videos, self.data), order, collate=collate_candidates, workers=workers, pin=pin
        )

    def read(self, row: int) -> Described:
        """Read the candidates of a video.

        Raises:
            MediaError: there are none, or the file is damaged.
        """
        return read_described(self.data.proposals, self.videos.name(row))


class ProposalDataset(Dataset[Fetched[Described]]):
    """The most probable candidates of the video that a key names. In training another takes a bad one's place."""

    def __init__(self, videos: Videos, options: ProposalData, *, seed: int = 0, replace: bool = False) -> None:
        self._videos, self._options, self._seed, self._replace = videos, options, seed, replace
        self._patience = Patience(StorageOptions().patience)

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, key: SampleKey) -> Fetched[Described]:
        def read(row: int) -> Described:
            described = self._patience.through(partial(read_described, self._options.proposals, self._videos.name(row)))
            return described.first(self._options.train_candidates) if self._replace else described

        return fetch(key, read, seed=self._seed, others=len(self) if self._replace else 0)


def collate_candidates(fetched: Sequence[Fetched[Described]]) -> LocalizationBatch:
    """Candidates of videos → a batch."""
    read = [(each.row, each.sample) for each in fetched if each.sample is not None]
    features = [sample.features for _, sample in read]
    return LocalizationBatch(
        torch.from_numpy(np.concatenate(features)) if features else torch.empty((0, 1)),
        torch.from_numpy(np.concatenate([sample.overlaps for _, sample in read])) if features else torch.empty(0),
        torch.tensor([row for row, _ in read], dtype=torch.int64),
        tuple(file for each in fetched for file in each.bad),
    ).shared()
