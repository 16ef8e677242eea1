"""Features of whole videos as data of localizers, from options to batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from annotated_types import Ge, Interval
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from kinema.data.features.rescaling import Rescaling
from kinema.data.features.source import FeatureSource
from kinema.data.loader import EvalBatches
from kinema.data.samples import Batch, Sample, SampleDataset, SampleKey
from kinema.errors import MediaError, UserError
from kinema.runtime.processes import Process
from kinema.storage import StorageOptions, open_storage
from kinema.tasks.localization.data.facts import share_of, stored_shape
from kinema.tasks.localization.data.short_instances import attainable_overlaps, compare_lengths, warn_of_short_instances
from kinema.tasks.localization.data.videos import Videos, read_truth, with_features
from kinema.tasks.localization.data.windows import WindowOptions, Windows, cut_into_windows
from kinema.tasks.localization.metrics.annotations import GroundTruth
from kinema.training.order import load_batches

SAMPLE_SECONDS = 120.0
"""Length of the random videos that training is measured on."""


class Split(NamedTuple):
    """Videos of one use. path: the ground truth that has them."""

    use: Literal["training", "validation", "test"]
    path: str
    truth: GroundTruth


MakeLabels = Callable[[Videos, Sequence[int], int], Any]
"""Labels of the videos of a batch: of rows of these videos, at a number of points in time."""


class NetworkOptions(Protocol):
    """Options of a network that its data depend on."""

    feature_channels: int


class GridOptions(Protocol):
    """Options of a task that its data depend on."""

    @property
    def grid_offset(self) -> float:
        """Start of a part of a video, where segments start and end, as a fraction of it."""


@dataclass(kw_only=True)
class LoadingOptions:
    """Videos of a localizer, and their loading.

    Subclasses, for each kind of input, have the properties `patience`, seconds to wait for a storage that does not
    answer, and `reads`, what is read, for the log; and the methods `input_shape(channels)`, `open` and `write_random`.
    """

    ground_truth: str = ""
    """JSON file of the videos, their subsets, durations and instances, in ActivityNet's format or that of MMAction2's
    anet_anno_*.json."""
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
    def val_file(self) -> str:
        """Ground truth of the validation videos."""
        return self.val_ground_truth or self.ground_truth

    def splits(self) -> list[Split]:
        """Read the training videos and, if there are any, the validation videos.

        Raises:
            UserError: see `read_truth`.
        """
        own_file = bool(self.val_ground_truth) or not self.val_subset
        truth = read_truth(self.ground_truth, self.train_subset, own_file=own_file)
        splits = [Split("training", self.ground_truth, truth)]
        if self.val_subset:
            truth = read_truth(self.val_file, self.val_subset, own_file=bool(self.val_ground_truth))
            splits.append(Split("validation", self.val_file, truth))
        return splits

    def open(
        self, splits: Sequence[Split], network: NetworkOptions, task: GridOptions, classes: tuple[str, ...], /
    ) -> "Sequence[OpenSplit]":
        """Open what the networks read of the videos of `splits`.

        Args:
            splits: videos by their use.
            network: options of the network.
            task: options of the task.
            classes: names of a trained model's classes; empty for a new model, and one that has none.

        Raises:
            UserError: the data cannot be used.
        """
        raise NotImplementedError


@dataclass(kw_only=True)
class FeatureData(LoadingOptions):
    """Features of videos, and the ground truth."""

    INPUTS: ClassVar[str] = "features"
    """Option of the networks' inputs."""

    features: tuple[str, ...] = ()
    """Folder with a CSV, npy or npz file for each video, or a safetensors or npz file of all; path or URL. Of several,
    as of RGB and flow, the features of a video are put side by side."""
    parts: Annotated[int, Ge(2)] = 100
    """Points in time that the features of every video are brought to."""
    rescaling: Rescaling = "linear"
    """How they are brought there."""
    windows: WindowOptions = field(default_factory=WindowOptions)
    """Overlapping windows of long videos, each of which is brought to `parts` points."""
    storage: StorageOptions = field(default_factory=StorageOptions)
    """Memcached servers and a local cache of URLs."""

    @property
    def patience(self) -> float:
        """Seconds to wait for a storage that does not answer."""
        return self.storage.patience

    @property
    def reads(self) -> str:
        """What is read, for the log."""
        inputs = "windows of features" if self.windows else "features"
        return f"{inputs} of {' and '.join(self.features)}, brought to {self.parts} points"

    def input_shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of a video's features, (C, T)."""
        return channels, self.parts

    def open(
        self, splits: Sequence[Split], network: NetworkOptions, task: GridOptions, _classes: tuple[str, ...], /
    ) -> "list[FeatureSplit]":
        """See `LoadingOptions`."""
        source = open_source(self, channels=network.feature_channels)
        return [self._open(split, source, task.grid_offset) for split in splits]

    def write_random(self, folder: Path, name: str, channels: int, random: np.random.Generator) -> None:
        """Write random features of a video."""
        np.save(folder / f"{name}.npy", random.standard_normal((self.parts, channels), np.float32))

    def _open(self, split: Split, source: FeatureSource, grid_offset: float) -> "FeatureSplit":
        if split.use == "training":
            check_features(source, split.truth)
        videos = with_features(split.path, split.truth, source)
        windows = windows_of(videos, source, self.windows)
        if split.use == "training" and not any(map(len, videos.instances)):
            raise UserError(f"{split.path}: no training video has an instance that its features cover")
        if split.use == "training" and windows and not any(map(len, windows.pieces.instances)):
            raise UserError(
                f"{split.path}: no instance fits into a window: make windows longer (--data.windows.seconds)"
            )
        warn_of_short_instances(videos, self.parts, offset=grid_offset, what=f"{split.use} videos", windows=windows)
        if windows and split.use == "training":
            windows = windows.with_instances()
        return FeatureSplit(videos=videos, windows=windows, source=source, data=self)


@dataclass(frozen=True, kw_only=True)
class OpenSplit:
    """Videos of one use, in the order of the ground truth, and what the networks read of them.

    windows: what the videos are cut into, if they are. Rows of samples and batches are then theirs.
    """

    videos: Videos
    data: LoadingOptions
    windows: Windows | None = None
    classes: tuple[str, ...] = ()
    """Class names of a detector, in the order of its outputs; empty for localizers without classes."""

    @property
    def inputs(self) -> Videos:
        """What the network takes one at a time: the videos, or their windows."""
        return self.windows.pieces if self.windows else self.videos

    def dataset(self, labels: MakeLabels | None, *, training: bool = False, seed: int = 0) -> SampleDataset[Any, Any]:
        """Return the dataset of all inputs; in training a random video takes a bad one's place.

        Without `labels`, batches have no targets.
        """
        raise NotImplementedError

    def facts(self, task: GridOptions) -> dict[str, str]:  # noqa: ARG002
        """Return what a report says of the inputs beyond the ground truth, text by name.

        Raises:
            UserError: the inputs are damaged.
            StorageOutage: the storage does not answer.
        """
        return {}

    def train_batches(
        self, order: Sampler[list[SampleKey]], labels: MakeLabels, process: Process, *, seed: int
    ) -> DataLoader[Batch[Any]]:
        """Return this process's training batches in the given order."""
        return load_batches(self.dataset(labels, training=True, seed=seed), order, self.data.workers, process)

    def eval_batches(self, labels: MakeLabels, process: Process) -> DataLoader[Batch[Any]]:
        """Return this process's share of the videos or their windows, each once."""
        order = EvalBatches(len(self.inputs), self.data.val_batch_size, rank=process.rank, world=process.world)
        return load_batches(self.dataset(labels), order, self.data.workers, process)


@dataclass(frozen=True, kw_only=True)
class FeatureSplit(OpenSplit):
    """Videos and their features."""

    data: FeatureData
    source: FeatureSource

    def dataset(self, labels: MakeLabels | None, *, training: bool = False, seed: int = 0) -> "FeatureDataset":
        """See `OpenSplit`."""
        return FeatureDataset(self, labels, training=training, seed=seed)

    def facts(self, task: GridOptions) -> dict[str, str]:
        """See `OpenSplit`: the features, and how many instances are too short or too long for the grid."""
        parts, of_windows = self.data.parts, f"{len(self.windows.parts):,} windows, " if self.windows else ""
        facts = {
            "features of a video": stored_shape(self.source, self.videos.truth.videos),
            "input of the network": f"{of_windows}{parts:,} points × {self.source.channels:,} channels",
        }
        lengths = compare_lengths(self.videos, parts, windows=self.windows)
        if count := len(lengths.seconds):
            overlaps = attainable_overlaps(self.videos, parts, offset=task.grid_offset, windows=self.windows)
            attainable = int((overlaps >= 0.5).sum()) / int((self.videos.truth.label >= 0).sum())
            facts["instances shorter than the grid"] = share_of(int(lengths.short.sum()), count)
            if self.windows:
                facts["instances longer than a window"] = share_of(int(lengths.long.sum()), count)
            facts["instances that can be found at tIoU 0.5"] = f"{attainable:.1%}"
        return facts


class FeatureDataset(SampleDataset[int, Any]):
    """Features (C, T) of videos or windows; the targets of a batch are `labels` of its rows."""

    def __init__(self, split: FeatureSplit, labels: MakeLabels | None, *, training: bool, seed: int) -> None:
        super().__init__(len(split.inputs), seed=seed, replace=training, generator=np.random.default_rng)
        self._split, self._labels = split, labels

    def read(self, key: SampleKey, _rng: np.random.Generator, _out: Tensor | None, /) -> Sample[int]:
        """Read the features of a video; the source itself waits for its storage."""
        name, windows = self._split.inputs.name(key.row), self._split.windows
        part = (0.0, 1.0) if windows is None else tuple(windows.parts[key.row].tolist())
        return Sample(self._split.source.read(name, part), key.row)

    def stack_targets(self, targets: list[int]) -> Any:
        """Return the labels of a batch."""
        return self._labels(self._split.inputs, targets, self._split.data.parts) if self._labels else ()


def windows_of(videos: Videos, source: FeatureSource, options: WindowOptions) -> Windows | None:
    """Return the windows of videos by the lengths of their features; None: videos are not cut.

    Raises:
        UserError: the options contradict each other.
        StorageOutage: the storage does not answer.
    """
    if not options:
        return None
    options.check()
    lengths = []
    for name in videos.truth.videos:
        try:
            lengths.append(source.length(name))
        except MediaError:  # said and counted where the video is read
            lengths.append(0)
    return cut_into_windows(videos, lengths, options)


def open_source(options: FeatureData, *, channels: int) -> FeatureSource:
    """Open the features that `options` name.

    Raises:
        UserError: there are none.
    """
    if not options.features:
        raise UserError("no features: pass --data.features, a folder or a packed file")
    return FeatureSource(
        options.features,
        storage=open_storage(options.storage),
        parts=options.parts,
        channels=channels,
        mode=options.rescaling,
        patience=options.storage.patience,
    )


def check_features(source: FeatureSource, truth: GroundTruth) -> None:
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
