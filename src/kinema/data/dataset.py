"""Datasets of videos: random training clips, and views for validation and testing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from kinema.data.kinds import FLOW, KINDS, Label, LabelsRead
from kinema.data.lists.annotations import read_index
from kinema.data.lists.class_names import read_class_names
from kinema.data.lists.folds import parts_of, split
from kinema.data.lists.index import Index
from kinema.data.lists.spot_checks import check_counts, check_presence, with_usual_names
from kinema.data.options import DataOptions
from kinema.data.patience import Patience, check_storage_of
from kinema.data.readers.packed import check_packed
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.segment_reader import SegmentFault, read_segment
from kinema.data.readers.sources import Opener
from kinema.data.readers.timeout import within
from kinema.data.readers.video.known_tables import KnownTables
from kinema.data.samples import Sample, SampleDataset, SampleKey, batch_memory
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views, read_train_clip, read_views
from kinema.errors import MediaError, UserError
from kinema.storage import check_protocol, is_url, open_storage

R = TypeVar("R")


class VideoFiles:
    """Listed videos: opened from their storage, read within a time limit.

    Raises:
        UserError: The storage or the template is faulty, or clips need frames that sparse packed files lack.
        StorageOutage: The storage does not answer for `options.storage.patience` seconds.
    """

    def __init__(self, index: Index, options: DataOptions, samplings: Sequence[Sampling]) -> None:
        flow, first = options.source in FLOW, index.path(0)
        self.channels = 2 if flow else 3
        self.patience = Patience(options.storage.patience)
        self._index, self._timeout = index, options.decode_timeout
        self._opener = self.patience.through(lambda: with_usual_names(opener(options, first), index))
        if index.segments is not None:
            self._opener = replace(self._opener, known=KnownTables())
        if KINDS[options.source] == "packed":
            check = partial(check_packed, samplings, first, flow=flow, storage=self._opener.storage)
            # A file that takes too long passes the check.
            self.patience.through(partial(within, options.decode_timeout, first, check))

    def __len__(self) -> int:
        return len(self._index)

    def label(self, row: int) -> Label:
        """Return the label, or all labels, of a video."""
        return self._index.label(row) if self._index.label_offsets is None else self._index.label_set(row)

    def read(self, row: int, read: Callable[[FrameReader], R]) -> R:
        """Open a video, or a segment of it, and return what `read` returns for it.

        Raises:
            MediaError: It cannot be read, or not in time.
            StorageOutage: The storage does not answer.
        """
        path, segment = self._index.path(row), self._index.segment(row)

        def open_and_read() -> R:
            video = self._opener.open(path, self._index.num_frames(row) or None)
            return read(video if segment is None else read_segment(video, segment))

        self._opener.load()
        try:
            return within(self._timeout, path, open_and_read)
        except MediaError as fault:
            if not isinstance(fault, SegmentFault):
                check_storage_of(path, fault, limit=self._timeout)
            if segment is None:
                raise
            line = f"{self._index.source}:{self._index.lines[row]}"
            raise MediaError(self._index.name(row), f"{fault.reason} ({line})") from None


class ClipDataset(SampleDataset[Label, Tensor]):
    """Random training clips of videos; `SampleKey.variant` is an index of `clips`. Bad files are replaced."""

    def __init__(self, index: Index, clips: Sequence[TrainClip], options: DataOptions, *, seed: int = 0) -> None:
        """Open the storage; see `VideoFiles`.

        Raises:
            UserError: Also when colors of optical flow are to be augmented.
        """
        if options.source in FLOW and any(clip.augment.needs_rgb for clip in clips):
            raise UserError(
                "optical flow has no colors to change: data.train_clip.augment.rand_augment and "
                f"data.train_clip.augment.color_jitter must be 0 with --data.source {options.source}"
            )
        self._clips, self._videos = clips, VideoFiles(index, options, [clip.sampling for clip in clips])
        super().__init__(len(index), seed=seed, replace=True, patience=self._videos.patience)

    def allocate(self, keys: Sequence[SampleKey]) -> Tensor:
        """Return memory for the clips of a batch."""
        return batch_memory(len(keys), (*self._clips[keys[0].variant].shape, self._videos.channels))

    def read(self, key: SampleKey, rng: np.random.Generator, out: Tensor | None, /) -> Sample[Label]:
        """Read random clips of a video, (V, T, C, H, W) uint8 in channels-last memory."""
        clip, label = self._clips[key.variant], self._videos.label(key.row)

        def read_clip(video: FrameReader) -> tuple[Tensor, bool]:
            with _torch_seeded(rng) if clip.augment.changes_pixels else nullcontext():
                return read_train_clip(video, clip, rng, out)

        clips, flipped = self._videos.read(key.row, read_clip)
        return Sample(clips, clip.crop.flipped_label(label) if flipped else label)

    def stack_targets(self, targets: list[Label]) -> Tensor:
        """Return the labels of a batch."""
        return stack_labels(targets)


class ViewDataset(SampleDataset[Label, Tensor]):
    """The views of videos for validation and testing. Bad files are left out of their batch."""

    def __init__(self, index: Index, views: Views, options: DataOptions) -> None:
        """Open the storage; see `VideoFiles`."""
        self._views, self._videos = views, VideoFiles(index, options, [views.sampling])
        super().__init__(len(index), patience=self._videos.patience)

    def allocate(self, keys: Sequence[SampleKey]) -> Tensor:
        """Return memory for the views of a batch."""
        return batch_memory(len(keys), (*self._views.shape, self._videos.channels))

    def read(self, key: SampleKey, _rng: np.random.Generator, out: Tensor | None, /) -> Sample[Label]:
        """Read all views of a video, (V, T, C, H, W) uint8 in channels-last memory."""
        views = self._videos.read(key.row, lambda video: read_views(video, self._views))
        return Sample(views if out is None else out.copy_(views), self._videos.label(key.row))

    def stack_targets(self, targets: list[Label]) -> Tensor:
        """Return the labels of a batch."""
        return stack_labels(targets)


def stack_labels(labels: Sequence[Label]) -> Tensor:
    """Return (B,) int64 of one label each; or (B, L) int64 of at most L labels each, padded with -1."""
    most = max((len(label) for label in labels if isinstance(label, tuple)), default=0)
    rows = [[*label, *[-1] * (most - len(label))] if isinstance(label, tuple) else label for label in labels]
    return torch.tensor(rows, dtype=torch.int64)


@contextmanager
def _torch_seeded(rng: np.random.Generator) -> Iterator[None]:
    """Seed torch's global generator, from which torchvision's transforms draw, by `rng`; restore it afterwards.

    Not by torch.manual_seed, which also seeds CUDA and, until CUDA is used, keeps a stack trace of each call.
    """
    generator = torch.default_generator
    before = generator.get_state()
    generator.manual_seed(int(rng.integers(2**63)))
    try:
        yield
    finally:
        generator.set_state(before)


def opener(options: DataOptions, example: str) -> Opener:
    """What opens the videos that `options` speak of; `example` is the path of one of them.

    Raises:
        UserError: the storage or the template is faulty, or fsspec lacks a library for URLs such as `example`.
    """
    if is_url(example):
        check_protocol(example)
    made = Opener(
        source=options.source,
        storage=open_storage(options.storage),
        template=options.template,
        first=1 if options.start == "auto" else options.start,
        reader=options.reader,
    )
    if KINDS[options.source] != "rawframes" or options.template == "auto":
        return made
    made.open(example, count=1)  # says what is wrong with a template
    return replace(made, first=made.find_first(example)) if options.start == "auto" else made


def open_train_index(options: DataOptions, *, labels: LabelsRead = "single") -> Index:
    """Read the list of training videos.

    Raises:
        UserError: no list is given, or it is faulty.
    """
    patience = Patience(options.storage.patience)
    classes = patience.through(lambda: read_class_names(options.classes)) if options.classes else None
    index = _read_index(options, "train", root=options.root, classes=classes, labels=labels)
    return _divided(index, options)[0] if options.divides else index


def open_val_index(
    options: DataOptions, classes: tuple[str, ...] | None, *, labels: LabelsRead = "single", advice: str = ""
) -> Index:
    """Read the list of validation videos, with the training data's `classes`, if they have names.

    Raises:
        UserError: no list is given, or it is faulty; the message about other classes ends with `advice`.
    """
    if options.divides:
        whole = _read_index(options, "train", root=options.root, classes=classes, labels=labels, advice=advice)
        return _divided(whole, options)[1]
    root = options.val_root or options.root
    return _read_index(options, "val", root=root, classes=classes, labels=labels, advice=advice)


def _divided(index: Index, options: DataOptions) -> tuple[Index, Index]:
    """Return the training and the validation videos of one list.

    Raises:
        UserError: it cannot be divided so.
    """
    if options.folds and options.val_fraction:
        raise UserError("--data.folds and --data.val-fraction both say which videos are validated: pass one of them")
    if options.folds and options.fold < 0:
        raise UserError(
            f"--data.folds {options.folds}: only `kinema train` trains one fold after the other; pass --data.fold 0 to "
            f"{options.folds - 1} for one of them"
        )
    if options.folds and options.fold >= options.folds:
        raise UserError(f"--data.fold {options.fold}: expected 0 to {options.folds - 1}")
    held_out, folds = [options.fold], options.folds
    if options.val_fraction:
        count, folds = parts_of(options.val_fraction, index, group_by=options.fold_by)
        held_out = [*range(count)]
    return split(index, held_out, folds=folds, group_by=options.fold_by, seed=options.fold_seed)


def _read_index(
    options: DataOptions,
    split: Literal["train", "val"],
    *,
    root: str,
    classes: tuple[str, ...] | None,
    labels: LabelsRead,
    advice: str = "",
) -> Index:
    annotation, where = (options.train, options.train_where) if split == "train" else (options.val, options.val_where)
    if not annotation:
        what = "training" if split == "train" else "validation"
        folder = "videos" if labels == "none" else "class folders"
        raise UserError(f"no {what} videos: pass --data.{split} (a folder of {folder}, or a list)")
    kind, patience = KINDS[options.source], Patience(options.storage.patience)
    index = patience.through(
        lambda: read_index(annotation, kind=kind, root=root, classes=classes, labels=labels, where=where, advice=advice)
    )
    if labels == "single" and index.label_offsets is not None:
        raise UserError(
            f"'{annotation}' has a column for any number of labels a video: that is --task.labels multi; where each "
            "video has one the column is called 'label' or 'class'"
        )
    check_presence(index, options.source)
    if kind == "rawframes":
        patience.through(lambda: check_counts(index, opener(options, index.path(0))))
    return index
