"""Features of videos of any length, with padding and masks, as data of detectors."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor

from kinema.data.features.rescaling import Rescaling, rescale
from kinema.data.features.source import FeatureSource
from kinema.data.features.spans import FeatureSpan, whole_video
from kinema.data.lists.video_names import same_video
from kinema.data.samples import Sample, SampleDataset, SampleKey
from kinema.errors import MediaError, UserError
from kinema.storage import StorageOptions, open_storage
from kinema.tasks.localization.data.facts import stored_shape
from kinema.tasks.localization.data.features import LoadingOptions, OpenSplit, Split, check_features
from kinema.tasks.localization.data.videos import Videos
from kinema.tasks.localization.data.windows import WindowLength, Windows
from kinema.tasks.localization.detectors.cropping import Labelled, random_crop
from kinema.tasks.localization.detectors.points import AssignmentOptions, PointTargets, point_targets
from kinema.tasks.localization.detectors.windows import DetectorWindows, detector_windows
from kinema.tasks.localization.metrics.class_scores import VideoClasses, read_video_classes
from kinema.tasks.localization.metrics.segments import Floats, Ints

log = logging.getLogger(__name__)


class PaddedFeatures(NamedTuple):
    """Features (N, C, T) of videos, 0 at padding, and their mask (N, T) bool, False at padding."""

    features: Tensor
    mask: Tensor


class EvaluationTargets(NamedTuple):
    """Targets of validation and test videos. counts: (N,) int64 features of each before they are rescaled."""

    counts: Tensor
    points: PointTargets


@dataclass(kw_only=True)
class DetectorData(LoadingOptions):
    """Features of videos as they are, and the ground truth with labels."""

    INPUTS: ClassVar[str] = "features"
    """Option of the networks' inputs."""

    features: tuple[str, ...] = ()
    """Folder with a CSV, npy or npz file for each video, or a safetensors or npz file of all; path or URL. Of several,
    as of RGB and flow, the features of a video are put side by side."""
    parts: Annotated[int, Ge(0)] = 0
    """Points in time that the features of every video are brought to; 0: they stay as they are."""
    rescaling: Rescaling = "centres"
    """How they are brought there."""
    max_length: Annotated[int, Ge(1)] = 2304
    """Features of a video in training: longer ones are cropped, shorter ones padded to it; in validation and tests,
    shorter ones are padded, too."""
    multiple: Annotated[int, Ge(1)] = 1
    """Longer ones are padded in validation and tests to a multiple of this."""
    crop: tuple[Annotated[float, Interval(gt=0, le=1)], Annotated[float, Interval(gt=0, le=1)]] = (0.9, 1.0)
    """Shares of a video not longer than `max_length` between which the length of a random crop is drawn in training."""
    windows: WindowLength = field(default_factory=WindowLength)
    """Overlapping windows of long videos in validation, tests and use, so that memory does not grow with a video's
    length. Training sees random crops of `max_length` in any case."""
    crop_overlap: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Share of an instance that a crop must show, or else nothing is learned from it."""
    stride: Annotated[float, Ge(0)] = 0.0
    """Frames from one feature to the next, of features without a description beside them; 0: features cover the whole
    duration evenly."""
    window: Annotated[float, Ge(0)] = 0.0
    """Frames that such a feature sees, the first from the video's start on; 0: `stride`."""
    fps: Annotated[float, Ge(0)] = 0.0
    """Frames per second of videos for which the ground truth has no `fps`, of features with a `stride`."""
    class_scores: str = ""
    """File of class scores of the validation or test videos, as `kinema evaluate detection --video-classes` reads it:
    segments get their labels from it."""
    top_classes: Annotated[int, Ge(1)] = 2
    """Labels that each segment gets from `class_scores`."""
    storage: StorageOptions = field(default_factory=StorageOptions)
    """Memcached servers and a local cache of URLs."""

    @property
    def patience(self) -> float:
        """Seconds to wait for a storage that does not answer."""
        return self.storage.patience

    @property
    def reads(self) -> str:
        """What is read, for the log."""
        brought = f", brought to {self.parts} points" if self.parts else ""
        return f"features of {' and '.join(self.features)}{brought}"

    def input_shape(self, channels: int) -> tuple[int, ...]:
        """Return the shape of a video's features in training, (C, T)."""
        return channels, self.max_length

    def padded_length(self, length: int) -> int:
        """Return the length that features are padded to."""
        return self.max_length if length <= self.max_length else -(-length // self.multiple) * self.multiple

    def class_names(self) -> tuple[str, ...]:
        """Return the labels of the training and validation videos.

        Raises:
            UserError: an instance has no label, or the ground truth is faulty.
        """
        return _names(self.splits())

    def open(
        self, splits: Sequence[Split], network: Any, task: Any, classes: tuple[str, ...], /
    ) -> "list[DetectorSplit]":
        """See `LoadingOptions`."""
        if not self.features:
            raise UserError("no features: pass --data.features, a folder or a packed file")
        if self.windows and self.parts:
            raise UserError(
                f"--data.parts {self.parts} brings whole videos to so many points, which are not cut into windows "
                "(--data.windows): pass one of them"
            )
        self.windows.check()
        source = FeatureSource(
            self.features,
            storage=open_storage(self.storage),
            parts=None,
            channels=network.feature_channels,
            patience=self.storage.patience,
        )
        names = _names(splits)
        new = any(split.use == "training" for split in splits)
        if new and network.num_classes == len(names):
            classes = names  # or else the network has one class for all
        scores = read_video_classes(Path(self.class_scores)) if self.class_scores else None
        return [self._open(split, source, network, task, classes, scores) for split in splits]

    def write_random(self, folder: Path, name: str, channels: int, random: np.random.Generator) -> None:
        """Write random features of a video."""
        np.save(folder / f"{name}.npy", random.standard_normal((self.max_length, channels), np.float32))

    def _open(
        self,
        split: Split,
        source: FeatureSource,
        network: Any,
        task: Any,
        classes: tuple[str, ...],
        scores: VideoClasses | None,
    ) -> "DetectorSplit":
        if split.use == "training":
            check_features(source, split.truth)
            scores = None
        elif scores is not None:
            _warn_of_missing_scores(split, scores)
        truth = split.truth
        opened = DetectorSplit(
            videos=Videos(truth=truth),
            data=self,
            classes=classes if scores is None else scores.classes,
            source=source,
            described=source.spans(dict(zip(truth.videos, truth.durations.tolist(), strict=True))),
            scores=scores,
            num_classes=network.num_classes,
            assignment=task.assignment,
            label=_class_indices(truth.labels, classes),
        )
        for row in range(len(truth.videos)):
            opened.span(row, 1, path=split.path)
        return opened.cut_up(2 ** (network.num_levels - 1)) if self.windows and split.use != "training" else opened


def _names(splits: Sequence[Split]) -> tuple[str, ...]:
    for split in splits:
        if "" in split.truth.labels:
            raise UserError(f"{split.path}: an instance has no label; detectors learn labels")
    return tuple(sorted({label for split in splits for label in split.truth.labels}))


def _class_indices(labels: Sequence[str], classes: Sequence[str]) -> Ints:
    """Return the class of each label, -1 for unknown ones and 0 for all without classes; the last is of label -1."""
    known = {name: number for number, name in enumerate(classes)}
    indices = [known.get(label, -1) if classes else 0 for label in labels]
    return np.array([*indices, -1], np.int64)


def _warn_of_missing_scores(split: Split, scores: VideoClasses) -> None:
    missing = [video for video in split.truth.videos if same_video(video, scores.scores) is None]
    if missing:
        log.warning(
            "%d of %d %s videos have no class scores, such as %s: nothing is detected in them",
            len(missing), len(split.truth.videos), split.use, missing[0],
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DetectorSplit(OpenSplit):
    """Videos and their features.

    described: spans of the features that say so themselves, by video. scores: class scores that label segments. label:
    class of each label of the ground truth. cuts: what `windows` show of the videos, if they are cut.
    """

    data: DetectorData
    source: FeatureSource
    described: Mapping[str, FeatureSpan]
    scores: VideoClasses | None
    num_classes: int
    assignment: AssignmentOptions
    label: Ints
    cuts: DetectorWindows | None = None

    def cut_up(self, stride: int) -> "DetectorSplit":
        """Return the split with its videos cut into windows, whose starts are multiples of `stride`."""
        options, lengths = self.data.windows, []
        for name in self.videos.truth.videos:
            try:
                lengths.append(self.source.length(name))
            except MediaError:  # said and counted where the video is read
                lengths.append(0)
        shortest = 2 * stride
        rows = [
            options.rows(length, self.span(row, length)) if length else shortest for row, length in enumerate(lengths)
        ]
        cuts = detector_windows(lengths, rows, options, stride=stride)
        names = tuple(self.videos.name(row) for row in cuts.video.tolist())
        pieces = Videos(truth=replace(self.videos.truth, videos=names))
        return replace(self, cuts=cuts, windows=Windows(pieces=pieces, video=cuts.video, parts=cuts.parts))

    def dataset(self, _labels: object, *, training: bool = False, seed: int = 0) -> "DetectorDataset":
        """See `OpenSplit`; the labels are those of points, see `point_targets`."""
        return DetectorDataset(self, training=training, seed=seed)

    def facts(self, task: Any) -> dict[str, str]:  # noqa: ARG002
        """See `OpenSplit`."""
        data, channels = self.data, self.source.channels
        of_windows = f"{len(self.windows.parts):,} windows, " if self.windows else ""
        brought = f"brought to {data.parts:,} points, " if data.parts else ""
        shape = f"padded to {data.max_length:,} points × {channels:,} channels"
        return {
            "features of a video": stored_shape(self.source, self.videos.truth.videos),
            "input of the network": f"{of_windows}{brought}{shape}",
        }

    def span(self, row: int, features: int, *, path: str = "the ground truth") -> FeatureSpan:
        """Return the seconds that the features of a video cover, by their number.

        Raises:
            UserError: nothing says how long the video is, or its frame rate.
        """
        truth, data = self.videos.truth, self.data
        name, duration = truth.videos[row], float(truth.durations[row])
        if name in self.described:
            return self.described[name]
        if not duration > 0:
            raise UserError(f"{path}: video {name} has no duration in seconds")
        if not data.stride:
            share = np.nan if truth.feature_shares is None else truth.feature_shares[row]
            return whole_video(duration, share=1.0 if np.isnan(share) else float(share))
        fps = data.fps if truth.fps is None or np.isnan(truth.fps[row]) else float(truth.fps[row])
        if not fps:
            raise UserError(f"{path}: video {name} has no 'fps', which --data.stride needs: pass --data.fps")
        start = ((data.window or data.stride) - data.stride) / 2 / fps
        return FeatureSpan(start, start + features * data.stride / fps, duration)

    def instances(self, row: int, features: int, length: int) -> tuple[Floats, Ints]:
        """Return segments (m, 2) of a video in positions of its features, brought to `length`, and their classes."""
        truth = self.videos.truth
        rows = np.flatnonzero((truth.video == row) & (self.label[truth.label] >= 0))
        fractions = self.span(row, features).fractions(truth.segments[rows])
        return fractions * length - 0.5, self.label[truth.label[rows]]

    def instances_in(self, row: int, features: int, length: int) -> tuple[Floats, Ints]:
        """Return the same of an input, in its positions: a video, or a window, whose features are not rescaled."""
        if self.cuts is None:
            return self.instances(row, features, length)
        video, (first, _) = int(self.cuts.video[row]), self.cuts.bounds[row].tolist()
        whole = int(self.cuts.lengths[video])
        segments, labels = self.instances(video, whole, whole)
        return segments - first, labels

    def seconds(self, row: int, features: int, length: int, segments: Floats) -> Floats:
        """Convert segments of a video from positions of its features, brought to `length`, to seconds."""
        span = self.span(row, features)
        seconds = span.start + (segments + 0.5) / length * (span.end - span.start)
        return seconds.clip(0, max(span.last, span.start))


class DetectorDataset(SampleDataset[Any, Any]):
    """Padded features of videos or, in tests, their windows.

    Targets are those of the points, in validation and tests also the numbers of features before they are rescaled.
    """

    def __init__(self, split: DetectorSplit, *, training: bool, seed: int) -> None:
        super().__init__(len(split.inputs), seed=seed, replace=training, generator=np.random.default_rng)
        self._split, self._training = split, training

    def read(self, key: SampleKey, rng: np.random.Generator, _out: Tensor | None, /) -> Sample[Any]:
        """Read the features of a video, in training a random crop; the source itself waits for its storage."""
        split, data = self._split, self._split.data
        part = (0.0, 1.0) if split.windows is None else tuple(split.windows.parts[key.row].tolist())
        features = split.source.read(split.inputs.name(key.row), part)
        count = features.shape[1]
        if data.parts:
            features = torch.from_numpy(rescale(features.T.numpy(), data.parts, mode=data.rescaling)).T
        instances = split.instances_in(key.row, count, features.shape[1])
        if not self._training:
            return Sample(features, (count, features.shape[1], *instances))
        stride = data.stride or 1.0
        cropped = random_crop(
            Labelled(features, *instances),
            longest=data.max_length,
            shares=data.crop,
            least_overlap=data.crop_overlap,
            margin=(data.window or stride) / stride / 2,
            random=rng,
        )
        return Sample(cropped.features, (count, data.max_length, cropped.segments, cropped.labels))

    def stack_inputs(self, inputs: list[Tensor]) -> PaddedFeatures:
        """Pad the features of a batch to one length."""
        return pad_features(inputs, self._split.data.padded_length(max(each.shape[1] for each in inputs)))

    def stack_targets(self, targets: list[Any]) -> PointTargets | EvaluationTargets:
        """Return the targets of a batch."""
        split = self._split
        points = point_targets(
            [segments.astype(np.float32) for _, _, segments, _ in targets],
            [labels for *_, labels in targets],
            length=split.data.padded_length(max((length for _, length, _, _ in targets), default=1)),
            classes=split.num_classes,
            options=split.assignment,
        )
        if self._training:
            return points
        return EvaluationTargets(torch.tensor([count for count, *_ in targets], dtype=torch.int64), points)


def pad_features(features: Sequence[Tensor], length: int) -> PaddedFeatures:
    """Pad features (C, T) of videos to `length`."""
    padded = features[0].new_zeros(len(features), features[0].shape[0], length)
    mask = torch.zeros(len(features), length, dtype=torch.bool)
    for row, each in enumerate(features):
        padded[row, :, : each.shape[1]] = each
        mask[row, : each.shape[1]] = True
    return PaddedFeatures(padded, mask)
