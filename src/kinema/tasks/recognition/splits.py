"""Checks and warnings about the labels and videos of a dataset's splits before training."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from shlex import quote

import numpy as np
from numpy.typing import NDArray

from kinema.data.crops import TrainCrop
from kinema.data.lists.index import Index
from kinema.data.lists.overlap import count_common
from kinema.errors import UserError, did_you_mean

log = logging.getLogger(__name__)

_SHOWN = 5


def check_told_apart(train: Index, classes: Sequence[str]) -> None:
    """Check that the training videos do not all have the same label, or the same set of labels.

    Raises:
        UserError: they do, or none has a label.
    """
    counts = videos_of_classes(train, len(classes))
    if not counts.any():
        raise UserError(f"no training video of '{train.source}' has a label; training needs labels")
    if not ((counts > 0) & (counts < len(train))).any():
        same = _listed([classes[k] for k in np.flatnonzero(counts).tolist()])
        what = "all of one class" if train.label_offsets is None else "all of the same classes"
        raise UserError(f"the training videos are {what}, {same}; training needs at least two classes")


def warn_of_labels(train: Index, val: Index | None, classes: Sequence[str]) -> None:
    """Warn of classes without training videos, and of validation videos that are unlabeled or of such classes."""
    counts = videos_of_classes(train, len(classes))
    missing = [classes[k] for k in np.flatnonzero(counts == 0).tolist()]
    if missing and train.class_names is None:
        log.warning("%s", _of_numbers(train, val, counts))
    elif missing:
        log.warning("%d of %d classes have no training video: %s", len(missing), len(classes), _listed(missing))
    if val is None:
        return
    if warn_of_unlabeled(val):
        log.warning("`best` will be the model that was validated last")
    val_counts = videos_of_classes(val, len(classes))
    unseen = np.flatnonzero((val_counts > 0) & (counts == 0))
    if len(unseen):
        log.warning(
            "%d of %d validation videos are of classes that no training video has: %s",
            val_counts[unseen].sum(), len(val), _listed([classes[k] for k in unseen.tolist()]),
        )  # fmt: skip


def warn_of_unlabeled(index: Index) -> bool:
    """Warn if no video has a label; return whether that is so."""
    if len(index.labels):
        return False
    log.warning("no video of '%s' has a label: mAP is undefined, null in JSON", index.source)
    return True


def label_advice(index: Index, num_classes: int) -> str:
    """Return advice for training labels that are out of range."""
    if index.class_names is not None:
        return "--data.classes names them"
    if not len(index.labels):
        return ""
    low, high = int(index.labels.min()), int(index.labels.max())
    if low == 1 and high == num_classes:
        return f"these start at 1: subtract 1 from each, or pass --model.num-classes {high + 1}"
    return f"pass --model.num-classes {high + 1} for these labels, or name the classes with --data.classes FILE"


def warn_of_overlap(train: Index, val: Index) -> None:
    """Warn of validation videos that are training videos too; of segments, those that overlap one."""
    common = count_common(val, train)
    if not common:
        return
    if val.segments is None:
        what = "videos are training videos too"
    else:
        what = "segments are of what is trained on too"
    log.warning("%d of %d validation %s: metrics of these say nothing about other videos", common, len(val), what)


def warn_of_mirrors(crop: TrainCrop, classes: Sequence[str]) -> None:
    """Warn of classes whose names say that a flip turns them into each other, where `crop` flips and does not know.

    Args:
        crop: With flip pairs as indices, see `with_flip_pairs`.
        classes: Names of the classes.
    """
    known = {int(label) for pair in crop.flip_pairs for label in pair.split(":")}
    lower = [name.lower() for name in classes]
    mirrors = [
        (k, lower.index(other)) for k, name in enumerate(classes) if (other := _mirrored(name)) and other in lower
    ]
    pairs = [(one, other) for one, other in mirrors if one < other and not {one, other} & known]
    if crop.flip and pairs:
        shown = " ".join(quote(f"{classes[one]}:{classes[other]}") for one, other in pairs[:_SHOWN])
        log.warning(
            "clips are flipped (--data.train-clip.crop.flip %g), by which '%s' looks like '%s': pass %s %s%s, or "
            "--data.train-clip.crop.flip 0",
            crop.flip, *(classes[k] for k in pairs[0]), _OPTION, shown, " …" if len(pairs) > _SHOWN else "",
        )  # fmt: skip


_SIDES = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)


def _mirrored(name: str) -> str:
    """Return what a class would be called in a mirror: left and right are exchanged; empty: the same."""
    mirrored = _SIDES.sub(lambda side: "right" if side[0].lower() == "left" else "left", name.lower())
    return mirrored if mirrored != name.lower() else ""


def with_flip_pairs(crop: TrainCrop, classes: Sequence[str]) -> TrainCrop:
    """Return `crop` with its flip pairs, class indices or names, as indices.

    Raises:
        UserError: a pair is not of two classes, or a class is in two pairs.
    """
    pairs = [_flip_pair(pair, classes) for pair in crop.flip_pairs]
    members = [label for pair in pairs for label in pair]
    if repeated := [classes[label] for label in members if members.count(label) > 1]:
        raise UserError(
            f"{_OPTION} {' '.join(crop.flip_pairs)}: class {repeated[0]} is there twice; expected a class in one pair"
        )
    return replace(crop, flip_pairs=tuple(f"{one}:{other}" for one, other in pairs))


_OPTION = "--data.train-clip.crop.flip-pairs"


def _flip_pair(pair: str, classes: Sequence[str]) -> tuple[int, int]:
    cuts = [k for k, character in enumerate(pair) if character == ":"]
    halves = [(pair[:cut].strip(), pair[cut + 1 :].strip()) for cut in cuts]
    for one, other in halves:  # a name may hold a colon, or be a number
        if one in classes and other in classes:
            return classes.index(one), classes.index(other)
    one, other = halves[0]
    return _index(one, pair, classes), _index(other, pair, classes)


def _index(label: str, pair: str, classes: Sequence[str]) -> int:
    if label.isascii() and label.isdecimal() and int(label) < len(classes):
        return int(label)
    if label in classes:
        return classes.index(label)
    raise UserError(
        f"{_OPTION} {pair}: '{label}' is not one of the {len(classes)} classes, 0 to {len(classes) - 1} or their names"
        f"{did_you_mean(label, classes)}; '' is for no pairs"
    )


def videos_of_classes(index: Index, num_classes: int) -> NDArray[np.int64]:
    """Return the number of videos per class, (classes,)."""
    labels = index.labels.numpy()
    if index.label_offsets is None:
        return np.bincount(labels, minlength=num_classes)
    rows = np.repeat(np.arange(len(index)), np.diff(index.label_offsets.numpy()))
    return np.bincount(np.unique(np.stack([rows, labels]), axis=1)[1], minlength=num_classes)


def _of_numbers(train: Index, val: Index | None, counts: NDArray[np.int64]) -> str:
    occurring = np.flatnonzero(counts)
    highest = max(int(index.labels.max()) for index in (train, val) if index is not None and len(index.labels))
    start = f" Labels are counted from 0; these start at {occurring[0]}." if occurring[0] else ""
    return (
        f"{len(occurring)} of {len(counts)} classes occur in '{train.source}'.{start} Where it is not part of a larger "
        f"dataset, pass --model.num-classes {highest + 1}, or --data.classes FILE with the names of the classes"
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
