"""Candidates of BSN as the data of PEM."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor

from kinema.data.features.spans import whole_video
from kinema.data.patience import Patience
from kinema.data.samples import Sample, SampleDataset, SampleKey
from kinema.errors import MediaError
from kinema.storage import StorageOptions
from kinema.tasks.localization.bsn.candidate_files import Described, read_described, write_described
from kinema.tasks.localization.data.facts import as_range, evenly_chosen
from kinema.tasks.localization.data.features import (
    SAMPLE_SECONDS,
    GridOptions,
    LoadingOptions,
    MakeLabels,
    NetworkOptions,
    OpenSplit,
    Split,
)
from kinema.tasks.localization.data.videos import Videos


@dataclass(kw_only=True)
class ProposalData(LoadingOptions):
    """Candidates that proposal generation has left behind, and the ground truth."""

    INPUTS: ClassVar[str] = "proposals"
    """Option of the network's inputs."""

    proposals: str = ""
    """Folder that `kinema prepare candidates` has written."""
    train_candidates: Annotated[int, Ge(1)] = 500
    """Candidates of a video to train on, the most probable ones; of one that is cut into windows, for each of these."""

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

    def open(
        self, splits: Sequence[Split], _network: NetworkOptions, _task: GridOptions, _classes: tuple[str, ...], /
    ) -> "list[CandidateSplit]":
        """See `LoadingOptions`."""
        return [CandidateSplit(videos=Videos(truth=split.truth), data=self) for split in splits]

    def write_random(self, folder: Path, name: str, channels: int, random: np.random.Generator) -> None:
        """Write random candidates of a video."""
        count = self.train_candidates
        described = Described(
            segments=np.sort(random.uniform(size=(count, 2)), axis=1),
            starts=random.uniform(size=count),
            ends=random.uniform(size=count),
            features=random.random((count, channels), np.float32),
            overlaps=random.random(count, np.float32),
            span=whole_video(SAMPLE_SECONDS),
        )
        write_described(folder, name, described)


@dataclass(frozen=True, kw_only=True)
class CandidateSplit(OpenSplit):
    """Videos and their candidates."""

    data: ProposalData

    def dataset(self, _labels: MakeLabels | None, *, training: bool = False, seed: int = 0) -> "ProposalDataset":
        """See `OpenSplit`; candidates have their labels themselves."""
        return ProposalDataset(self, seed=seed, training=training)

    def facts(self, _task: GridOptions) -> dict[str, str]:
        """See `OpenSplit`."""
        counts, channels = [], set[int]()
        for name in evenly_chosen(self.videos.truth.videos):
            try:
                features = read_described(self.data.proposals, name).features
            except MediaError:  # said and counted where the video is read
                continue
            counts.append(len(features))
            channels.add(features.shape[1])
        if not counts:
            return {"candidates of a video": "–"}
        return {"candidates of a video": f"{as_range(counts)} × {as_range(sorted(channels))} channels"}

    def read(self, row: int) -> Described:
        """Read the candidates of a video; see `read_described`."""
        return read_described(self.data.proposals, self.videos.name(row))


class ProposalDataset(SampleDataset[Tensor, Tensor]):
    """Features (n, C) and overlaps (n,) of the candidates of videos, in training of the most probable ones.

    A batch has the candidates of all its videos, one after the other.
    """

    def __init__(self, split: CandidateSplit, *, seed: int, training: bool) -> None:
        rows, patience = len(split.videos), Patience(StorageOptions().patience)
        super().__init__(rows, seed=seed, replace=training, patience=patience, generator=np.random.default_rng)
        self._split, self._most = split, split.data.train_candidates if training else None

    def read(self, key: SampleKey, _rng: np.random.Generator, _out: Tensor | None, /) -> Sample[Tensor]:
        """Read the candidates of a video."""
        described = self._split.read(key.row)
        most = self._most and self._most * described.windows
        features, overlaps = described.features[:most], described.overlaps[:most]
        return Sample(torch.from_numpy(features), torch.from_numpy(overlaps))

    def stack_inputs(self, inputs: list[Tensor]) -> Tensor:
        """Return the features of all candidates, (N, C)."""
        return torch.cat(inputs)

    def stack_targets(self, targets: list[Tensor]) -> Tensor:
        """Return the overlaps of all candidates, (N,)."""
        return torch.cat(targets) if targets else torch.empty(0)
