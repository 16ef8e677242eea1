"""Features of whole videos as data of localizers, from options to batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, Dataset, Sampler

from kinema.data.batch import BadFile, SampleKey, copied, shared
from kinema.data.features.rescaling import Rescaling
from kinema.data.features.source import FeatureSource
from kinema.data.loader import EvalBatches, load
from kinema.errors import MediaError, UserError
from kinema.storage import StorageOptions, open_storage
from kinema.tasks.localization.metrics.annotations import GroundTruth
from kinema.tasks.localization.videos import Videos, read_truth, say_what_is_too_short, with_features

S = TypeVar("S")

_REPLACEMENTS = 10  # bad videos in a row before a sample is given up


class Split(NamedTuple):
    """Videos of one use. path: the ground truth that has them."""

    use: Literal["training", "validation", "test"]
    path: str
    truth: GroundTruth


MakeLabels = Callable[[Videos, Sequence[int], int], Any]
"""Labels of the videos of a batch: of rows of these videos, at a number of points in time."""


class OpenSplit(Protocol):
    """Videos of one use, and what the networks read of them."""

    @property
    def videos(self) -> Videos:
        """The videos, in the order of the ground truth."""

    def train_batches(
        self, order: Sampler[list[SampleKey]], labels: MakeLabels, *, seed: int, workers: int, pin: bool
    ) -> "DataLoader[LocalizationBatch]":
        """Training batches in the given order; a random video takes a bad one's place."""

    def eval_batches(
        self, *, workers: int, rank: int = 0, world: int = 1, pin: bool = False
    ) -> "DataLoader[LocalizationBatch]":
        """Every video once, without labels; process `rank` of `world` has its share."""


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

    @property
    def patience(self) -> float:
        """Seconds to wait for a storage that does not answer."""
        raise NotImplementedError

    @property
    def reads(self) -> str:
        """What is read, for the log."""
        raise NotImplementedError

    def input_shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of one input of the network, which has `channels` channels."""
        raise NotImplementedError

    def open(self, splits: Sequence[Split], channels: int, grid_offset: float, /) -> Sequence[OpenSplit]:
        """Open what the networks read of the videos of `splits`.

        Args:
            splits: videos by their use.
            channels: of the network's input.
            grid_offset: start of a part of a video, where segments start and end, as a fraction of it.

        Raises:
            UserError: the data cannot be used.
        """
        raise NotImplementedError


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

    @property
    def reads(self) -> str:
        """What is read, for the log."""
        return f"features of {' and '.join(self.features)}, brought to {self.parts} points"

    def input_shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of a video's features, (C, T)."""
        return channels, self.parts

    def open(self, splits: Sequence[Split], channels: int, grid_offset: float, /) -> "list[FeatureSplit]":
        """See `LoadingOptions`."""
        source = open_source(self, channels=channels)
        return [self._open(split, source, grid_offset) for split in splits]

    def _open(self, split: Split, source: FeatureSource, grid_offset: float) -> "FeatureSplit":
        if split.use == "training":
            _check_features(source, split.truth)
        videos = with_features(split.path, split.truth, source)
        if split.use == "training" and not any(map(len, videos.instances)):
            raise UserError(f"{split.path}: no training video has an instance that its features cover")
        say_what_is_too_short(videos, self.parts, offset=grid_offset, what=f"{split.use} videos")
        return FeatureSplit(videos=videos, source=source, data=self)


class Fetched(NamedTuple, Generic[S]):
    """What came of a key: the row that was read, what was read there (None: nothing could be), and the bad files."""

    row: int
    sample: S | None
    bad: tuple[BadFile, ...]


@dataclass(slots=True)
class LocalizationBatch:
    """Videos side by side.

    inputs: (B, C, T) float32 features; of candidates (n, C), all videos' one after the other. labels: tensors, alone
    or in tuples or dictionaries; of candidates (n,) the overlap of each. indices: (B,) int64, rows of the videos. B may
    be 0.
    """

    inputs: Tensor
    labels: Any
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
        return LocalizationBatch(change(self.inputs), tree_map(change, self.labels), self.indices, self.bad)


class FeatureDataset(Dataset[Fetched[Tensor]]):
    """Features (C, T) of the video that a key names. In training another video takes a bad one's place."""

    def __init__(self, videos: Videos, source: FeatureSource, *, seed: int = 0, replace: bool = False) -> None:
        self._videos, self._source, self._seed, self._replace = videos, source, seed, replace

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, key: SampleKey) -> Fetched[Tensor]:
        def read(row: int) -> Tensor:
            return self._source.read(self._videos.name(row))

        return fetch(key, read, seed=self._seed, others=len(self) if self._replace else 0)


def fetch(key: SampleKey, read: Callable[[int], S], *, seed: int, others: int) -> Fetched[S]:
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
    """Features of videos → a batch with the labels that `label` makes of rows of the videos."""

    def __init__(self, label: Callable[[Sequence[int]], Any]) -> None:
        self._label = label

    def __call__(self, fetched: Sequence[Fetched[Tensor]]) -> LocalizationBatch:
        """Stack features of equal shape."""
        read = [(each.row, each.sample) for each in fetched if each.sample is not None]
        inputs = torch.stack([sample for _, sample in read]) if read else torch.empty((0, 1, 1))
        labels = self._label([row for row, _ in read])
        indices = torch.tensor([row for row, _ in read], dtype=torch.int64)
        return LocalizationBatch(inputs, labels, indices, tuple(file for each in fetched for file in each.bad)).shared()


@dataclass(frozen=True, kw_only=True)
class FeatureSplit:
    """Videos of one use, and their features; see `OpenSplit`."""

    videos: Videos
    source: FeatureSource
    data: FeatureData

    def train_batches(
        self, order: Sampler[list[SampleKey]], labels: MakeLabels, *, seed: int, workers: int, pin: bool
    ) -> DataLoader[LocalizationBatch]:
        """Training batches in the given order; a random video takes a bad one's place."""
        dataset = FeatureDataset(self.videos, self.source, seed=seed, replace=True)
        label = partial(_labels, labels, self.videos, self.data.parts)
        return load(dataset, order, collate=CollateFeatures(label), workers=workers, pin=pin)

    def eval_batches(
        self, *, workers: int, rank: int = 0, world: int = 1, pin: bool = False
    ) -> DataLoader[LocalizationBatch]:
        """Every video once, without labels; process `rank` of `world` has its share."""
        order = EvalBatches(len(self.videos), self.data.val_batch_size, rank=rank, world=world)
        dataset = FeatureDataset(self.videos, self.source)
        return load(dataset, order, collate=CollateFeatures(lambda _: ()), workers=workers, pin=pin)


def _labels(labels: MakeLabels, videos: Videos, parts: int, rows: Sequence[int]) -> Any:
    return labels(videos, rows, parts)


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


def _check_features(source: FeatureSource, truth: GroundTruth) -> None:
    """Read the features of the first few videos, so that data of no use are reported before training."""
    names = truth.videos[:3]
    faults = list[MediaError]()
    for name in names:
        try:
            source.read(name)
        except MediaError as fault:
            faults.append(fault)
    if len(faults) == len(names):
        raise UserError(
            f"the features of the first {len(names)} videos cannot be used: {faults[0]} "
            f"(--model.feature-channels is {source.channels})"
        )
