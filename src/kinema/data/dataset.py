"""Rows of the index made into samples, the same ones wherever and whenever they are made."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from kinema.data.batch import BadFile, Batch, Fetched, Label, Sample, SampleKey, collate, room_for
from kinema.data.lists.annotations import read_index
from kinema.data.lists.class_names import read_class_names
from kinema.data.lists.index import Index, LabelMode
from kinema.data.lists.listed_frames import check_counts, with_usual_names
from kinema.data.lists.presence import check_presence
from kinema.data.options import DataOptions
from kinema.data.patience import Patience, blame
from kinema.data.readers.packed import check_packed
from kinema.data.readers.sources import FLOW, KINDS, Opener
from kinema.data.readers.timeout import within
from kinema.data.sampling import Draws
from kinema.data.views import TrainClip, Views, read_train_clip, read_views
from kinema.errors import MediaError, UserError
from kinema.storage import check_protocol, is_url, open_storage

_REPLACEMENTS = 10  # bad videos in a row before a sample is given up


class VideoDataset(Dataset[Fetched]):
    """Makes the sample of a `SampleKey`.

    All randomness of a sample comes from (seed, epoch, index): neither the number of workers nor a resumed run
    changes it. A video that cannot be read is reported; in training a random other one takes its place. A storage that
    does not answer is waited for, which changes no sample. `views` are those of a test, or the kinds of clips to train
    on, of which a key names one.
    """

    def __init__(
        self, index: Index, views: Sequence[TrainClip] | Views, options: DataOptions, *, seed: int = 0
    ) -> None:
        """See `opener` for what may be wrong with `options`.

        Raises:
            UserError: also when the colours of optical flow are to change, or clips need frames that sparse packed
                files have not.
            StorageOutage: the storage does not answer for `options.storage.patience` seconds.
        """
        flow = options.source in FLOW
        if flow and not isinstance(views, Views) and any(clip.augment.needs_rgb for clip in views):
            raise UserError(
                "optical flow has no colours to change: data.train_clip.augment.rand_augment and "
                f"data.train_clip.augment.color_jitter must be 0 with --data.source {options.source}"
            )
        self.index = index
        self._patience = Patience(options.storage.patience)
        self._opener = self._patience.through(lambda: with_usual_names(opener(options, index.path(0)), index))
        if KINDS[options.source] == "packed":
            samplings = [clip.sampling for clip in ([views] if isinstance(views, Views) else views)]
            first, storage = index.path(0), self._opener.storage
            check = partial(check_packed, samplings, first, flow=flow, storage=storage)
            # Which passes over a file that answers too late.
            self._patience.through(partial(within, options.decode_timeout, first, check))
        self._views = views
        self._draws = Draws()
        self._seed = seed
        self._channels = 2 if flow else 3
        self._timeout = options.decode_timeout

    def __len__(self) -> int:
        return len(self.index)

    def __getitems__(self, keys: Sequence[SampleKey]) -> Batch:
        """The samples of `keys`, each made in its place of the batch's memory. Called by torch's DataLoader."""
        views = self._views if isinstance(self._views, Views) else self._views[keys[0].variant]
        room, fetched, good = room_for(len(keys), (*views.shape, self._channels)), list[Fetched](), 0
        for key in keys:
            fetched.append(self._patience.through(partial(self._fetch, key, room[good])))
            good += fetched[-1].sample is not None
        return collate(fetched, room)

    def __getitem__(self, key: SampleKey) -> Fetched:
        return self._patience.through(partial(self._fetch, key, None))

    def _fetch(self, key: SampleKey, room: Tensor | None) -> Fetched:
        rng = self._draws.begin(self._seed, key.epoch, key.index)
        row, bad = key.index, list[BadFile]()
        while len(bad) < _REPLACEMENTS:
            try:
                path = self.index.path(row)
                clips, label = within(self._timeout, path, partial(self._read, path, row, key.variant, rng, room))
            except MediaError as fault:
                fault = blame(path, fault, limit=self._timeout)
                bad.append(BadFile(fault.path, fault.reason))
                if isinstance(self._views, Views):
                    break
                row = int(rng.integers(len(self.index)))
            else:
                return Fetched(Sample(clips, label, row), tuple(bad))
        return Fetched(None, tuple(bad))

    def _read(
        self, path: str, row: int, number: int, rng: np.random.Generator, room: Tensor | None
    ) -> tuple[Tensor, Label]:
        video = self._opener.open(path, self.index.num_frames(row) or None)
        label: Label = self.index.label(row) if self.index.label_offsets is None else self.index.label_set(row)
        if isinstance(self._views, Views):
            views = read_views(video, self._views)
            return views if room is None else room.copy_(views), label
        clip = self._views[number]
        with _seeded(rng) if clip.augment.changes_pixels else nullcontext():
            clips, flipped = read_train_clip(video, clip, rng, room)
        return clips, clip.crop.flipped_label(label) if flipped else label


@contextmanager
def _seeded(rng: np.random.Generator) -> Iterator[None]:
    """Let torchvision's random transforms, which draw from the global generator, depend on `rng`.

    The generator is given back as it was. Not by torch.manual_seed: that also asks for CUDA's seed, and keeps a stack
    trace of each call until CUDA is used.
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


def open_train_index(options: DataOptions, *, labels: LabelMode = "single") -> Index:
    """The training videos of `options`, of which each has one label, or any number of `labels`.

    Raises:
        UserError: none are named, or the annotations are faulty.
    """
    if not options.train:
        raise UserError(
            "no training videos: say where they are with --data.train (a folder of class folders, or a list)"
        )
    patience = Patience(options.storage.patience)
    classes = patience.through(lambda: read_class_names(options.classes)) if options.classes else None
    return _read_index(
        options.train, options, root=options.root, classes=classes, labels=labels, where=options.train_where
    )


def open_val_index(
    options: DataOptions, classes: tuple[str, ...] | None, *, labels: LabelMode = "single", advice: str = ""
) -> Index:
    """The validation videos of `options`, labelled by the training data's `classes` where they have names.

    `advice` says what to do about videos of other classes, for the message.

    Raises:
        UserError: none are named, or the annotations are faulty.
    """
    if not options.val:
        raise UserError(
            "no validation videos: say where they are with --data.val (a folder of class folders, or a list)"
        )
    root = options.val_root or options.root
    return _read_index(
        options.val, options, root=root, classes=classes, labels=labels, where=options.val_where, advice=advice
    )


def _read_index(
    annotation: str,
    options: DataOptions,
    *,
    root: str,
    classes: tuple[str, ...] | None,
    labels: LabelMode,
    where: str,
    advice: str = "",
) -> Index:
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
