"""What a report says of a recognizer: its data, per-class metrics, confusions, calibration, and videos."""

import csv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import numpy as np
import torch
from numpy.typing import NDArray

from kinema.console import progress
from kinema.data.dataset import open_train_index, open_val_index
from kinema.data.kinds import LabelMode
from kinema.data.options import ClipData
from kinema.data.readers.segment_reader import read_segment
from kinema.data.readers.segments import Segment, without_fragment
from kinema.errors import MediaError, StorageOutage, UserError
from kinema.report.calibration import calibration
from kinema.report.page.clips import preview
from kinema.report.page.content import (
    Block,
    Clip,
    Clips,
    Column,
    Figures,
    Matrix,
    Metric,
    Note,
    Reliability,
    ReportedRun,
    Section,
    Table,
    chosen_first,
    metric_text,
)
from kinema.tasks.recognition.evaluation.per_class import per_class_metrics
from kinema.tasks.recognition.predictor import open_frames
from kinema.tasks.recognition.splits import videos_of_classes

SCORES = "scores.npz"
"""Name in the folder of a test of the dump that a report reads."""

_CONFUSIONS, _PAIRS = 3, 25
_NAMES = {"top1": "top-1", "top5": "top-5", "mean_class": "mean class", "bad_files": "unreadable videos"}

_TOP1, _TOP5 = Metric(name="top1", shown="top-1"), Metric(name="top5", shown="top-5")
_MEAN_CLASS, _MAP = Metric(name="mean_class", shown="mean class"), Metric(name="mAP", shown="mAP")

_Array = NDArray[np.float64]
_Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Contents of a dump: `labels` (n,) class indices or (n, classes) of 0 and 1, `scores` (n, classes)."""

    paths: Sequence[str]
    labels: _Ints
    scores: _Array
    classes: Sequence[str]

    @property
    def several(self) -> bool:
        """Whether a video may have any number of labels."""
        return self.labels.ndim == 2


def main_metrics(labels: LabelMode, best_by: str) -> Sequence[Metric]:
    """Return the validation metrics to plot, that of `RecognitionSettings.best_by` first."""
    metrics = (_MAP, _TOP1) if labels == "multi" else (_TOP1, _MEAN_CLASS)
    return chosen_first((*metrics, _TOP5) if best_by == "top5" else metrics, best_by)


def describe(tested: ReportedRun) -> list[Section]:
    """Return the sections of a report on a recognizer.

    Raises:
        UserError: the scores of its test are damaged.
    """
    data, train_counts = _data(tested)
    file = tested.test / SCORES
    command = f"kinema test {quote(str(tested.run))} --dump {quote(str(file))}"
    if not tested.metrics:
        text = "The run was not tested yet. Metrics, confusions, calibration and videos are added by:"
        return [data, Section(title="Test", blocks=[Note(text=text, command=command)])]
    figures = [
        (_NAMES.get(name, name), metric_text(value, name))
        for name, value in tested.metrics.items()
        if isinstance(value, int | float)
    ]
    summary: list[Block] = [Figures(values=figures)]
    if not file.exists():
        known = _read_confusion(tested.test / "confusion.csv")
        what = "Calibration" if known else "Per-class metrics, confusions, calibration"
        note = Note(text=f"The test kept no scores. {what} and videos are added by:", command=command)
        sections = [data, Section(title="Test", blocks=[*summary, note])]
        return [*sections, *_confusions(*known, train_counts)] if known else sections
    scores = read_scores(file)
    sections = [data, Section(title="Test", blocks=summary)]
    if not scores.paths:
        return sections
    sections += _multi_label(scores, train_counts) if scores.several else _single_label(scores, train_counts)
    return [*sections, *_videos(scores, tested)]


def _data(tested: ReportedRun) -> tuple[Section, _Ints | None]:
    """Return the section on the videos, and the number of training videos by class, if the lists can be read."""
    options, classes, mode = tested.description.data, tested.description.classes, tested.description.task.labels
    try:
        train = open_train_index(options, labels=mode)
        val = open_val_index(options, train.class_names, labels=mode) if options.val or options.divides else None
    except (UserError, StorageOutage) as error:
        note = Note(text=f"The lists of videos cannot be read here, so that their numbers are not shown: {error}")
        return Section(title="Data", blocks=[note]), None
    counts = videos_of_classes(train, len(classes))
    occurring = counts[counts > 0]
    figures = [
        ("training videos", f"{len(train):,}"),
        ("validation videos", f"{len(val):,}" if val is not None else "–"),
        ("classes", f"{len(classes):,}"),
    ]
    if len(occurring):
        least, most = occurring.min(), occurring.max()
        figures.append(("training videos of a class", f"{least:,} – {most:,}" if least < most else f"{most:,}"))
    return Section(title="Data", blocks=[Figures(values=figures)]), counts


def read_scores(file: Path) -> Scores:
    """Read the npz of `kinema test --dump`.

    Raises:
        UserError: it is damaged or something else.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            return Scores(
                paths=[str(path) for path in content["paths"]],
                labels=content["labels"].astype(np.int64),
                scores=content["scores"].astype(np.float64),
                classes=[str(name) for name in content["classes"]],
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} is not a file of `kinema test --dump`: {error}") from error


def class_table(confusion: _Ints, classes: Sequence[str], train_counts: _Ints | None = None) -> Table:
    """Return training videos, if known, support, precision, recall, F1 and the most frequent confusions of each class.

    Precision is undefined for a class that is never predicted, recall for one without videos, F1 without either.
    """
    counts = torch.from_numpy(confusion)
    metrics = per_class_metrics(counts.diagonal(), of_class=counts.sum(dim=1), predicted=counts.sum(dim=0))
    rows = []
    for c, (name, support, precision, recall, f1) in enumerate(
        zip(classes, *(column.tolist() for column in metrics if column is not None), strict=True)
    ):
        mistakes = [(int(confusion[c, k]), k) for k in np.argsort(-confusion[c], kind="stable") if k != c]
        listed = ", ".join(f"{classes[k]} ({count})" for count, k in mistakes[:_CONFUSIONS] if count)
        trained = [int(train_counts[c])] if train_counts is not None else []
        rows.append([name, *trained, support, precision, recall, f1, listed])
    names = (("precision", "percent"), ("recall", "percent"), ("F1", "percent"), ("most often taken for", "text"))
    columns = [Column(name="class"), *_count_columns(train_counts)]
    columns += [Column(name=name, style=style) for name, style in names]
    return Table(caption="Metrics by class", columns=columns, rows=rows)


def _read_confusion(file: Path) -> tuple[_Ints, list[str]] | None:
    """Read the confusion matrix of a test, and the names of the classes; None if there is none."""
    try:
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
            (_, *classes), *rows = csv.reader(lines)
        confusion = np.array([row[1:] for row in rows], dtype=np.int64)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is damaged: {error}") from error
    if confusion.shape != (len(classes), len(classes)):
        raise UserError(f"{file} is damaged: expected a row and a column for each class")
    return confusion, classes


def _confusions(confusion: _Ints, classes: Sequence[str], train_counts: _Ints | None) -> list[Section]:
    """Return the sections on classes and their confusions."""
    mistakes = _pairs_table(confusion, classes)
    return [
        Section(
            title="Classes",
            lead="Precision: share of the videos predicted as the class that show it. Recall: share of the class's "
            "videos that are recognized. F1: their harmonic mean.",
            blocks=[class_table(confusion, classes, train_counts)],
        ),
        Section(
            title="Confusions", blocks=[Matrix(counts=confusion, classes=classes), *([mistakes] if mistakes else [])]
        ),
    ]


def _single_label(scores: Scores, train_counts: _Ints | None) -> list[Section]:
    predicted = scores.scores.argmax(axis=1)
    count = len(scores.classes)
    confusion = np.bincount(scores.labels * count + predicted, minlength=count**2).reshape(count, count)
    confidence = scores.scores.max(axis=1)
    reliable = calibration(confidence, predicted == scores.labels)
    return [
        *_confusions(confusion, scores.classes, train_counts),
        Section(
            title="Calibration",
            lead="Of predictions made with a confidence of 80 %, 80 % should be right. Bars below the diagonal are "
            "overconfident, bars above it underconfident.",
            blocks=[
                Figures(
                    values=[
                        ("expected calibration error", f"{reliable.error:.1%}"),
                        ("mean confidence", f"{confidence.mean():.1%}"),
                        ("accuracy", f"{(predicted == scores.labels).mean():.1%}"),
                    ]
                ),
                Reliability(
                    title="Reliability",
                    count=reliable.count.tolist(),
                    confidence=reliable.confidence.tolist(),
                    accuracy=reliable.accuracy.tolist(),
                    note=f"{len(reliable.count)} bins of confidence",
                ),
            ],
        ),
    ]


def _multi_label(scores: Scores, train_counts: _Ints | None) -> list[Section]:
    from torchmetrics.functional.classification import multilabel_average_precision

    occurs = scores.labels.sum(axis=0)
    precision = multilabel_average_precision(
        torch.from_numpy(scores.scores), torch.from_numpy(scores.labels), len(scores.classes), average="none"
    ).tolist()
    rows = [
        [name, *([int(train_counts[c])] if train_counts is not None else []), int(count), value if count else None]
        for c, (name, count, value) in enumerate(zip(scores.classes, occurs, precision, strict=True))
    ]
    columns = [
        Column(name="class"),
        *_count_columns(train_counts),
        Column(name="average precision", style="percent"),
    ]
    return [Section(title="Classes", blocks=[Table(caption="Metrics by class", columns=columns, rows=rows)])]


def _count_columns(train_counts: _Ints | None) -> list[Column]:
    names = [*(["training videos"] if train_counts is not None else []), "tested videos"]
    return [Column(name=name, style="count") for name in names]


def _pairs_table(confusion: _Ints, classes: Sequence[str]) -> Table | None:
    mistakes = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-mistakes, axis=None, kind="stable")[:_PAIRS]
    rows = [
        [classes[true], classes[predicted], int(mistakes[true, predicted]), mistakes[true, predicted] / support]
        for true, predicted in zip(*np.unravel_index(order, mistakes.shape), strict=True)
        if mistakes[true, predicted] and (support := confusion[true].sum())
    ]
    columns = [
        Column(name="true class"),
        Column(name="predicted class"),
        Column(name="videos", style="count"),
        Column(name="share of the true class", style="percent"),
    ]
    return Table(caption="Most confused pairs of classes", columns=columns, rows=rows) if rows else None


def _videos(scores: Scores, tested: ReportedRun) -> list[Section]:
    """Return the sections of playable videos: confident mistakes, then the hardest of the others."""
    if scores.several:
        clipped = scores.scores.clip(1e-7, 1 - 1e-7)
        loss = -np.where(scores.labels > 0, np.log(clipped), np.log1p(-clipped)).sum(axis=1)
        hardest = np.argsort(-loss, kind="stable")[: tested.max_clips]
        return _clips_section("Hardest videos", "Those of the largest binary cross-entropy.", hardest, scores, tested)
    predicted = scores.scores.argmax(axis=1)
    wrong = np.flatnonzero(predicted != scores.labels)
    confident = wrong[np.argsort(-scores.scores.max(axis=1)[wrong], kind="stable")][: tested.max_clips]
    of_true = scores.scores[np.arange(len(predicted)), scores.labels]
    order = np.argsort(of_true, kind="stable")
    hardest = order[~np.isin(order, confident)][: tested.max_clips]
    return [
        *_clips_section(
            "Most confident mistakes",
            "Wrong predictions of the highest probability: often wrong labels, or classes that overlap.",
            confident,
            scores,
            tested,
        ),
        *_clips_section(
            "Hardest videos", "Those of the lowest probability of the true class, beyond the videos above.",
            hardest, scores, tested,
        ),
    ]  # fmt: skip


def _clips_section(title: str, lead: str, rows: _Ints, scores: Scores, tested: ReportedRun) -> list[Section]:
    if not len(rows):
        return []
    clips = []
    with progress(f"encoding: {title.lower()}", len(rows)) as meter:
        for row in rows:
            clips.append(_clip(int(row), scores, tested.description.data))
            meter.advance()
    return [Section(title=title, lead=lead, blocks=[Clips(clips=clips)])]


def _clip(row: int, scores: Scores, data: ClipData) -> Clip:
    path, fragment = without_fragment(scores.paths[row])
    shown, fault = None, ""
    try:
        reader = open_frames(path, data)
        shown = preview(read_segment(reader, _segment(fragment)) if fragment else reader)
    except MediaError as error:
        fault = f"The video cannot be read: {error.reason}"
    except StorageOutage as error:
        fault = f"The video cannot be read: {error}"
    best, chances = int(scores.scores[row].argmax()), scores.scores[row]
    facts = [("predicted", f"{scores.classes[best]} · {chances[best]:.1%}")]
    if scores.several:
        true = [f"{scores.classes[c]} · {chances[c]:.1%}" for c in np.flatnonzero(scores.labels[row]).tolist()]
        facts.insert(0, ("true", ", ".join(true) or "none"))
    else:
        label = int(scores.labels[row])
        facts.insert(0, ("true", f"{scores.classes[label]} · {chances[label]:.1%}"))
    parts = Path(path).parts
    return Clip(name="/".join(parts[-2:]) + fragment, preview=shown, facts=facts, fault=fault)


def _segment(fragment: str) -> Segment:
    name, _, times = fragment.removeprefix("#").partition("=")
    start, end = map(float, times.split(","))
    return Segment(start, end, "seconds" if name == "t" else "frames")
