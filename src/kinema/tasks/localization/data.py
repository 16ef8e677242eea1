"""Features of whole videos made into batches, with what the networks are to say of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor
from torch.utils.data import Dataset

from kinema.data.batch import BadFile, SampleKey, copied, shared
from kinema.data.features.rescaling import Rescaling
from kinema.data.features.source import FeatureSource
from kinema.data.patience import Patience
from kinema.errors import MediaError, UserError
from kinema.storage import StorageOptions, open_storage
from kinema.tasks.localization.generation.proposal_files import Described, read_described
from kinema.tasks.localization.labels import BMNLabels, TEMLabels
from kinema.tasks.localization.metrics.annotations import GroundTruth
from kinema.tasks.localization.metrics.segments import Floats
from kinema.tasks.localization.videos import Videos, read_truth

Labels = BMNLabels | TEMLabels
S = TypeVar("S")

_REPLACEMENTS = 10  # bad videos in a row before a sample is given up


@dataclass(kw_only=True)
class LoadingOptions:
    """Which videos there are, and how they are loaded."""

    ground_truth: str = ""
    """JSON file: the videos, their subsets and lengths, and what happens in them. Of ActivityNet's layout, or of that
    of MMAction2's anet_anno_*.json."""
    val_ground_truth: str = ""
    """Ground truth of the validation videos, if they have a file of their own, such as anet_anno_val.json; empty: they
    are in `ground_truth`."""
    train_subset: str = "training"
    """Subset of the ground truth to train on. A file of its own that names no subsets is taken whole, as for
    validation."""
    val_subset: str = "validation"
    """Subset to validate and test on; empty: no validation."""
    batch_size: Annotated[int, Ge(1)] = 16
    """Videos in a training batch of one process."""
    val_batch_size: Annotated[int, Ge(1)] = 32
    """Videos in a validation or test batch of one process."""
    workers: Annotated[int, Ge(0)] | Literal["auto"] = "auto"
    """Loader processes of each training process; auto: its share of the CPU cores, at most 16."""
    max_bad_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.01
    """A run stops when more than this fraction of its videos cannot be read (rounded up to whole videos)."""


@dataclass(kw_only=True)
class FeatureData(LoadingOptions):
    """Features of videos, and the ground truth."""

    features: tuple[str, ...] = ()
    """Folder with a CSV, npy or npz file for each video, or a safetensors or npz file of all; path or URL. Of several,
    as of RGB and flow, the features of a video are put side by side."""
    parts: Annotated[int, Ge(2)] = 100
    """Points in time that the features of every video are brought to."""
    rescaling: Rescaling = "linear"
    """How they are brought there."""
    storage: StorageOptions = field(default_factory=StorageOptions)
    """Memcached servers and a local cache of URLs."""

    @property
    def patience(self) -> float:
        """Seconds to wait for a storage that does not answer."""
        return self.storage.patience

    def input_shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of a video's features, (C, T)."""
        return channels, self.parts


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

    def input_shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of a candidate's features, (C,)."""
        return (channels,)


class Fetched(NamedTuple, Generic[S]):
    """What came of a key: the row that was read, what was read there (None: nothing could be), and the bad files."""

    row: int
    sample: S | None
    bad: tuple[BadFile, ...]


@dataclass(slots=True)
class LocalizationBatch:
    """Videos side by side.

    inputs: (B, C, T) float32 features; of candidates (n, C), all videos' one after the other. labels: of the videos,
    or (n,) the overlap of each candidate. indices: (B,) int64, rows of the videos. B may be 0.
    """

    inputs: Tensor
    labels: Labels | Tensor
    indices: Tensor
    bad: tuple[BadFile, ...] = ()

    def __len__(self) -> int:
        return len(self.indices)

    def pin_memory(self) -> "LocalizationBatch":
        """Copy to page-locked memory, from which a device copies without waiting. Called by torch's DataLoader."""
        return self._changed(Tensor.pin_memory)

    def to(self, device: torch.device) -> "LocalizationBatch":
        """Move what the network and the loss read to `device`."""
        return self._changed(lambda tensor: copied(tensor, device))

    def shared(self) -> "LocalizationBatch":
        """The batch as a loader's worker can hand it over."""
        batch = self._changed(shared)
        batch.indices = shared(self.indices)
        return batch

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "LocalizationBatch":
        labels = (
            change(self.labels) if isinstance(self.labels, Tensor) else type(self.labels)(*map(change, self.labels))
        )
        return LocalizationBatch(change(self.inputs), labels, self.indices, self.bad)


class FeatureDataset(Dataset[Fetched[Tensor]]):
    """Features (C, T) of the video that a key names. In training another video takes a bad one's place."""

    def __init__(self, videos: Videos, source: FeatureSource, *, seed: int = 0, replace: bool = False) -> None:
        self._videos, self._source, self._seed, self._replace = videos, source, seed, replace

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, key: SampleKey) -> Fetched[Tensor]:
        def read(row: int) -> Tensor:
            return self._source.read(self._videos.name(row))

        return _fetch(key, read, seed=self._seed, others=len(self) if self._replace else 0)


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

        return _fetch(key, read, seed=self._seed, others=len(self) if self._replace else 0)


def _fetch(key: SampleKey, read: Callable[[int], S], *, seed: int, others: int) -> Fetched[S]:
    """Read a row; if it is bad, a random one of `others` instead, which depends on nothing but the seed and the key."""
    rng = np.random.default_rng([seed, key.epoch, key.index])
    row, bad = key.index, list[BadFile]()
    while len(bad) < _REPLACEMENTS:
        try:
            return Fetched(row, read(row), tuple(bad))
        except MediaError as error:
            bad.append(BadFile(error.path, error.reason))
            if not others:
                break
            row = int(rng.integers(others))
    return Fetched(row, None, tuple(bad))


class CollateFeatures:
    """Features of videos → a batch; `label` makes the labels of their instances."""

    def __init__(self, videos: Videos, label: Callable[[Sequence[Floats]], Labels]) -> None:
        self._videos, self._label = videos, label

    def __call__(self, fetched: Sequence[Fetched[Tensor]]) -> LocalizationBatch:
        """Stack features of equal shape."""
        read = [(each.row, each.sample) for each in fetched if each.sample is not None]
        inputs = torch.stack([sample for _, sample in read]) if read else torch.empty((0, 1, 1))
        labels = self._label([self._videos.instances[row] for row, _ in read])
        indices = torch.tensor([row for row, _ in read], dtype=torch.int64)
        return LocalizationBatch(inputs, labels, indices, tuple(file for each in fetched for file in each.bad)).shared()


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


def train_truth(options: LoadingOptions) -> GroundTruth:
    """Read the training videos of a ground truth.

    Raises:
        UserError: see `read_truth`.
    """
    own_file = bool(options.val_ground_truth) or not options.val_subset
    return read_truth(options.ground_truth, options.train_subset, own_file=own_file)


def val_truth(options: LoadingOptions) -> GroundTruth:
    """Read the videos to validate on.

    Raises:
        UserError: see `read_truth`.
    """
    return read_truth(val_file(options), options.val_subset, own_file=bool(options.val_ground_truth))


def val_file(options: LoadingOptions) -> str:
    """The ground truth that the videos to validate on are in."""
    return options.val_ground_truth or options.ground_truth


def open_source(options: FeatureData, *, channels: int) -> FeatureSource:
    """The features that `options` name.

    Raises:
        UserError: there are none.
    """
    if not options.features:
        raise UserError("no features: say where they are with --data.features (a folder, or a packed file)")
    return FeatureSource(
        options.features,
        storage=open_storage(options.storage),
        parts=options.parts,
        channels=channels,
        mode=options.rescaling,
        patience=options.storage.patience,
    )
