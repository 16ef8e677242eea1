"""Metrics of dumped scores (`kinema test --dump`), of one model or averaged over several."""

import logging
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from kinema.data.kinds import LabelMode, MediaKind
from kinema.data.lists.annotations import check_labels, read_index
from kinema.data.lists.class_folders import PACK_SUFFIX, VIDEO_SUFFIXES
from kinema.data.lists.index import Index
from kinema.data.readers.segments import without_fragment
from kinema.errors import UserError
from kinema.tasks.recognition.evaluation.metrics import recognition_metrics
from kinema.tasks.recognition.evaluation.per_class import Table, per_class_table

log = logging.getLogger(__name__)

_SUFFIXES = VIDEO_SUFFIXES | {PACK_SUFFIX}


@dataclass(frozen=True, kw_only=True)
class _Videos:
    """Videos of a file, and their labels, if it has any: (n,) int64 class indices, or (n, classes) int64 multi-hot."""

    origin: Path
    paths: list[str]
    labels: NDArray[np.int64] | None


@dataclass(frozen=True, kw_only=True)
class _Results(_Videos):
    """Videos with probabilities (n, classes) float64, and class names, if known."""

    scores: NDArray[np.float64]
    classes: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True)
class RecognitionReport:
    """metrics: `{"top1", "top5", "mean_class", "videos"}`, fractions and a count; `{"mAP", "top1", "videos"}` where
    videos have any number of labels. per_class: see `per_class_table`."""

    metrics: dict[str, float]
    per_class: Table


def evaluate_results(
    results: Sequence[Path],
    *,
    weights: Sequence[float] = (),
    ground_truth: Path | None = None,
    kind: MediaKind = "video",
    root: str = "",
    labels: LabelMode = "single",
    average: Literal["prob", "score"] = "prob",
    skip_missing: bool = False,
) -> RecognitionReport:
    """Measure the weighted average of several results, such as those of RGB and flow (Simonyan &
    Zisserman 2014, section 2).

    Videos are matched by the name of their file or folder, without a video suffix and with as many parent folders as
    make names unique: streams may be stored in different folders. A video that is listed several times counts as often;
    its rows are matched in order.

    Args:
        results: npz files with `paths` (n,) text and `scores` (n, classes) probabilities; optionally `labels`, (n,)
            integers or (n, classes) multi-hot, and `classes` (classes,) text.
        weights: weight of each result; empty: equal weights.
        ground_truth: an npz with `paths` and `labels`, or annotations as `read_index` takes them; None: the labels in
            the results.
        kind: media that annotations list.
        root: folder or URL that relative paths in annotations start from; empty: the file's own folder.
        labels: whether annotations have one label a video, or any number.
        average: probabilities (prob), or their logarithms (score), which are logits up to a constant.
        skip_missing: leave out videos that a result lacks, instead of refusing.

    Raises:
        UserError: a file cannot be read or holds something else; the results have other classes, labels or videos; the
            weights are not as many as the results, or negative.
    """
    shares = _shares(weights, len(results))
    streams = [_read_results(path) for path in results]
    classes = _same_classes(streams)
    count = streams[0].scores.shape[1]
    truth: _Videos = streams[0]
    if ground_truth is not None:
        truth = _read_truth(ground_truth, classes, count, kind=kind, root=root, labels=labels)
    if truth.labels is None:
        raise UserError(f"{truth.origin} has no labels: name the videos' labels with --ground-truth")
    order = _same_videos([truth, *streams], skip_missing=skip_missing)
    wanted = truth.labels[order[0]]
    averaged = np.zeros((len(wanted), count))
    for stream, rows, share in zip(streams, order[1:], shares, strict=True):
        _check_same_labels(truth, stream, wanted, rows)
        if wanted.ndim == 1:
            _check_sums(stream)
        scores = stream.scores[rows]
        averaged += share * (scores if average == "prob" else np.log(np.maximum(scores, np.finfo(np.float32).tiny)))
    if wanted.ndim == 1 and (outside := wanted[(wanted < 0) | (wanted >= count)].tolist()):
        raise UserError(f"{truth.origin}: label {outside[0]}, but the results are of {count} classes, counted from 0")
    if wanted.ndim == 2:
        averaged, wanted = averaged if average == "prob" else np.exp(averaged), np.where(wanted, np.arange(count), -1)
    metrics = recognition_metrics("single" if wanted.ndim == 1 else "multi", count, torch.device("cpu"))
    metrics.update(torch.from_numpy(averaged), torch.from_numpy(wanted))
    names = classes or tuple(map(str, range(count)))
    return RecognitionReport(metrics=metrics.compute()[0], per_class=per_class_table(metrics.per_class(), names))


def _shares(weights: Sequence[float], count: int) -> list[float]:
    if not count:
        raise UserError("no results named: --results a.npz b.npz, as `kinema test MODEL --dump a.npz` writes them")
    weights = weights or [1.0] * count
    if len(weights) != count:
        raise UserError(f"{len(weights)} weights for {count} results: --weights needs one for each")
    if not all(np.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights):
        raise UserError(f"--weights {' '.join(map(str, weights))}: none may be negative, and one must be above 0")
    return [weight / sum(weights) for weight in weights]


def _read_results(path: Path) -> _Results:
    arrays = _read_npz(path, ("paths", "scores"))
    if arrays["scores"].dtype.kind != "f":
        raise UserError(f"{path}: scores are {arrays['scores'].dtype}; expected probabilities, which are floats")
    scores = np.asarray(arrays["scores"], np.float64)
    if scores.ndim != 2 or len(scores) != len(arrays["paths"]) or not len(scores):
        raise UserError(f"{path}: scores of shape {scores.shape} for {len(arrays['paths'])} paths; expected a row each")
    if not (scores.min() >= 0 and scores.max() < 1.01):  # false for NaN too
        raise UserError(
            f"{path}: scores are not probabilities: they are {scores.min():g} to {scores.max():g}, their sums are "
            f"{scores.sum(axis=1).min():g} to {scores.sum(axis=1).max():g}; `kinema test --dump` writes probabilities"
        )
    classes = tuple(map(str, arrays["classes"])) if "classes" in arrays else None
    if classes is not None and len(classes) != scores.shape[1]:
        raise UserError(f"{path}: {len(classes)} class names for scores of {scores.shape[1]} classes")
    return _Results(
        origin=path,
        paths=[str(one) for one in arrays["paths"]],
        labels=_labels(path, arrays),
        scores=scores,
        classes=classes,
    )


def _check_sums(stream: _Results) -> None:
    sums = stream.scores.sum(axis=1)
    if abs(sums - 1).max() >= 0.01:
        raise UserError(
            f"{stream.origin}: scores are not probabilities, which sum to 1 in each row: sums are {sums.min():g} to "
            f"{sums.max():g}; `kinema test --dump` writes probabilities"
        )


def _read_truth(
    path: Path, classes: tuple[str, ...] | None, num_classes: int, *, kind: MediaKind, root: str, labels: LabelMode
) -> _Videos:
    if path.suffix == ".npz":
        arrays = _read_npz(path, ("paths", "labels"))
        return _Videos(origin=path, paths=[str(one) for one in arrays["paths"]], labels=_labels(path, arrays))
    index = read_index(path, kind=kind, root=root, classes=classes, labels=labels, option="--source")
    if index.label_offsets is not None:
        check_labels(index, num_classes)
    paths = [index.name(row) for row in range(len(index))]
    return _Videos(origin=path, paths=paths, labels=label_array(index, num_classes))


def _read_npz(path: Path, needed: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise UserError(f"{path} is no npz file; `kinema test MODEL --dump FILE.npz` writes one")
        with np.load(path, allow_pickle=False) as content:
            arrays: dict[str, NDArray[np.generic]] = dict(content)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is no npz file of arrays without pickled objects: {error}") from error
    if lacking := [name for name in needed if name not in arrays]:
        raise UserError(f"{path} has no {' and no '.join(lacking)}; it holds {', '.join(arrays) or 'nothing'}")
    return arrays


def label_array(index: Index, num_classes: int) -> NDArray[np.int64]:
    """Return class indices (n,), or multi-hot vectors (n, num_classes) of multi-label videos."""
    if index.label_offsets is None:
        return index.labels.numpy().astype(np.int64)
    hot = np.zeros((len(index), num_classes), np.int64)
    hot[np.repeat(np.arange(len(index)), np.diff(index.label_offsets.numpy())), index.labels.numpy()] = 1
    return hot


def _labels(path: Path, arrays: dict[str, NDArray[np.generic]]) -> NDArray[np.int64] | None:
    if "labels" not in arrays:
        return None
    labels = arrays["labels"]
    if labels.ndim == 2 and len(labels) == len(arrays["paths"]) and np.isin(labels, (0, 1)).all():
        if "scores" in arrays and labels.shape != arrays["scores"].shape:
            raise UserError(f"{path}: labels of shape {labels.shape} for scores of shape {arrays['scores'].shape}")
        return labels.astype(np.int64)
    if labels.dtype.kind not in "iu" or labels.shape != (len(arrays["paths"]),):
        raise UserError(
            f"{path}: labels are {labels.dtype} of shape {labels.shape}; expected an integer for each path, or "
            "0 or 1 for each path and class"
        )
    return labels.astype(np.int64)


def _same_classes(streams: Sequence[_Results]) -> tuple[str, ...] | None:
    first = streams[0]
    for other in streams[1:]:
        counts = [stream.scores.shape[1] for stream in (first, other)]
        if counts[0] != counts[1]:
            raise UserError(f"{first.origin} has scores of {counts[0]} classes, {other.origin} of {counts[1]}")
        if first.classes and other.classes and first.classes != other.classes:
            i = next(i for i, pair in enumerate(zip(first.classes, other.classes, strict=True)) if pair[0] != pair[1])
            raise UserError(
                f"{first.origin} and {other.origin} name classes differently: class {i} is '{first.classes[i]}' in one "
                f"and '{other.classes[i]}' in the other"
            )
    return next((stream.classes for stream in streams if stream.classes), None)


def _same_videos(files: Sequence[_Videos], *, skip_missing: bool) -> list[list[int]]:
    """Return the rows of each file of the videos that all files have, in the order of the first file.

    A video that is listed several times counts as several videos, whose rows are matched in order.
    """
    naming = _naming(files)
    rows = [_rows_by_name(file, naming) for file in files]
    everywhere = [name for name in rows[0] if all(name in names for names in rows)]
    for file, names in zip(files, rows, strict=True):
        alone = [name for name in names if any(name not in others for others in rows)]
        if alone and not skip_missing:
            shown = ", ".join([*map(_called, alone[:3])] + ["…"] * (len(alone) > 3))
            raise UserError(
                f"not the same videos: of {len(names)} in {file.origin}, {len(alone)} are missing elsewhere "
                f"({shown}); --skip-missing leaves them out"
            )
        if alone:
            log.warning("%s: %d of %d videos are left out, which others lack", file.origin, len(alone), len(names))
    if not everywhere:
        raise UserError(f"no video is in all of {', '.join(str(file.origin) for file in files)}")
    return [[names[name] for name in everywhere] for names in rows]


def _rows_by_name(file: _Videos, naming: Callable[[str], str]) -> dict[tuple[str, int], int]:
    """Return rows by the name of a video and the number of its earlier rows."""
    before = Counter[str]()
    rows: dict[tuple[str, int], int] = {}
    for row, path in enumerate(file.paths):
        name = naming(path)
        rows[name, before[name]] = row
        before[name] += 1
    return rows


def _called(name: tuple[str, int]) -> str:
    path, before = name
    return f"{path} (named {before + 1} times)" if before else path


def _naming(files: Sequence[_Videos]) -> Callable[[str], str]:
    """Return a function from paths to the shortest names that are unique in each file.

    Suffixes of video and packed files are omitted, unless two videos differ in nothing else.
    """
    longest = max((path.count("/") + 1 for file in files for path in file.paths), default=1)
    for suffixed in (False, True):
        for depth in range(1, longest + 1):
            naming = partial(_name, depth=depth, suffixed=suffixed)
            if all(len(set(map(naming, paths))) == len(paths) for paths in (set(file.paths) for file in files)):
                return naming
    return partial(_name, depth=longest + 1, suffixed=True)


def _name(path: str, depth: int, suffixed: bool) -> str:
    video, fragment = without_fragment(path)
    *folders, last = video.rstrip("/").split("/")[-depth:]
    stem, dot, suffix = last.rpartition(".")
    last = stem if not suffixed and f"{dot}{suffix}".lower() in _SUFFIXES else last
    return "/".join([*folders, last + fragment])


def _check_same_labels(truth: _Videos, stream: _Results, labels: NDArray[np.int64], rows: list[int]) -> None:
    if stream.labels is None:
        return
    if stream.labels.shape[1:] != labels.shape[1:]:
        raise UserError(f"{truth.origin} and {stream.origin}: one has a label a video, the other any number of labels")
    unequal = stream.labels[rows] != labels
    different = np.flatnonzero(unequal if labels.ndim == 1 else unequal.any(axis=1))
    if len(different):
        row = rows[different[0]]
        raise UserError(
            f"{truth.origin} and {stream.origin} label {len(different)} videos differently: {stream.paths[row]} is "
            f"{_said(labels[different[0]])} in one and {_said(stream.labels[row])} in the other"
        )


def _said(label: NDArray[np.int64]) -> str:
    """Format a class index, or the indices of a multi-hot vector."""
    return str(label) if label.ndim == 0 else str(np.flatnonzero(label).tolist())
