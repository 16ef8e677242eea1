"""Rows of the index made into samples, the same ones wherever and whenever they are made."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor
from torch.utils.data import Dataset

from kinema.data.annotations import read_class_names, read_index
from kinema.data.batch import BadFile, Fetched, Sample, SampleKey
from kinema.data.index import Index
from kinema.data.rawframes import open_rawframes
from kinema.data.reader import FrameReader
from kinema.data.video import open_video
from kinema.data.views import TrainClip, Views, read_train_clip, read_views
from kinema.errors import MediaError, UserError

_REPLACEMENTS = 10  # bad videos in a row before a sample is given up


@dataclass(kw_only=True)
class DataOptions:
    """Where the videos are and how they are fed."""

    train: str = ""
    """Training videos: a folder of class folders, a CSV/TSV with columns path and label, or a list file
    `path label` (videos) or `folder frames label` (rawframes)."""
    train_where: str = ""
    """Rows of a CSV to train on: conditions such as `fold!=0`, separated by commas."""
    val: str = ""
    """Validation videos, in the same forms."""
    val_where: str = ""
    """Rows of a CSV to validate on."""
    root: str = ""
    """Folder that relative paths in list files start from; empty: the list file's own folder."""
    val_root: str = ""
    """The same for the validation list; empty: as `root`."""
    classes: str = ""
    """File with one class name a line, in the order of the labels; empty: as the data names them."""
    source: Literal["video", "rawframes"] = "video"
    """Video files, or a folder of images for each video."""
    template: str = "auto"
    """Names of rawframes, such as `img_{:05}.jpg` counted from 1; auto: the images of the folder in natural order."""
    reader: Literal["auto", "torchcodec", "pyav"] = "auto"
    """Video decoder; auto: torchcodec where its FFmpeg libraries are found, else PyAV."""
    batch_size: Annotated[int, Ge(1)] = 8
    """Training videos in a batch of one process."""
    val_batch_size: Annotated[int, Ge(1)] = 8
    """Validation or test videos in a batch of one process."""
    workers: Annotated[int, Ge(0)] | Literal["auto"] = "auto"
    """Loader processes of each training process; auto: its share of the CPU cores, at most 16."""
    max_bad_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.01
    """A run stops when more than this fraction of its videos cannot be read (rounded up to whole videos)."""


class VideoDataset(Dataset[Fetched]):
    """Makes the sample of a `SampleKey`.

    All randomness of a sample comes from (seed, epoch, index): neither the number of workers nor a resumed run
    changes it. A video that cannot be read is reported; in training a random other one takes its place. `views` are
    those of a test, or the kinds of clips to train on, of which a key names one.
    """

    def __init__(
        self, index: Index, views: Sequence[TrainClip] | Views, options: DataOptions, *, seed: int = 0
    ) -> None:
        self.index = index
        self._views = views
        self._options = options
        self._seed = seed

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, key: SampleKey) -> Fetched:
        rng = np.random.default_rng([self._seed, key.epoch, key.index])
        row, bad = key.index, list[BadFile]()
        while len(bad) < _REPLACEMENTS:
            try:
                clips, label = self._read(row, key.clip, rng)
            except MediaError as error:
                bad.append(BadFile(error.path, error.reason))
                if isinstance(self._views, Views):
                    break
                row = int(rng.integers(len(self.index)))
            else:
                return Fetched(Sample(clips, label, row), tuple(bad))
        return Fetched(None, tuple(bad))

    def _read(self, row: int, clip: int, rng: np.random.Generator) -> tuple[Tensor, int]:
        video, label = self._open(row), self.index.label(row)
        if isinstance(self._views, Views):
            return read_views(video, self._views), label
        # torchvision's random transforms draw from the global generator, which is given back as it was.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            clips, flipped = read_train_clip(video, self._views[clip], rng)
        return clips, self._views[clip].crop.flipped_label(label) if flipped else label

    def _open(self, row: int) -> FrameReader:
        path = self.index.path(row)
        if self._options.source == "rawframes":
            return open_rawframes(path, template=self._options.template, count=self.index.num_frames(row) or None)
        return open_video(path, reader=self._options.reader)


def open_train_index(options: DataOptions) -> Index:
    """The training videos of `options`.

    Raises:
        UserError: none are named, or the annotations are faulty.
    """
    if not options.train:
        raise UserError(
            "no training videos: say where they are with --data.train (a folder of class folders, or a list)"
        )
    classes = read_class_names(options.classes) if options.classes else None
    return read_index(options.train, kind=options.source, root=options.root, classes=classes, where=options.train_where)


def open_val_index(options: DataOptions, classes: tuple[str, ...] | None) -> Index:
    """The validation videos of `options`, labelled by the training data's `classes` where they have names.

    Raises:
        UserError: none are named, or the annotations are faulty.
    """
    if not options.val:
        raise UserError(
            "no validation videos: say where they are with --data.val (a folder of class folders, or a list)"
        )
    root = options.val_root or options.root
    return read_index(options.val, kind=options.source, root=root, classes=classes, where=options.val_where)
