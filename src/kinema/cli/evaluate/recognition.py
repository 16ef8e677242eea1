"""`kinema evaluate recognition --results NPZ… [--weights …]`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table
from kinema.data.kinds import LabelMode, MediaKind
from kinema.storage import write_table
from kinema.storage.outputs import check_writable


@dataclass(kw_only=True)
class Options:
    """Compute the accuracy of scores written by `kinema test MODEL --dump rgb.npz`.

    Scores of several models, such as RGB and flow, are averaged.
    """

    results: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="NPZ")]
    """Files with `paths`, `scores` (probabilities) and, if known, `labels` and `classes`."""
    weights: Annotated[tuple[float, ...], tyro.conf.arg(metavar="NUMBER")] = ()
    """Weight of each file; default: equal weights."""
    ground_truth: Annotated[Path | None, tyro.conf.arg(metavar="LIST|NPZ")] = None
    """Labels of the videos: a folder of class folders, a CSV/TSV, a list file, or an npz with `paths` and `labels`;
    default: the labels in the results."""
    source: MediaKind = "video"
    """Kind of videos in a list: files, folders of images, or packed files of these."""
    root: str = ""
    """Folder that the paths of a list are relative to; empty: the folder of the list."""
    labels: LabelMode = "single"
    """Whether each video of a list has a single label, or any number of labels."""
    average: Literal["prob", "score"] = "prob"
    """Average of probabilities (prob) or of logits (score)."""
    skip_missing: bool = False
    """Ignore videos that are missing in a file, instead of exiting with an error."""
    per_class: Annotated[Path | None, tyro.conf.arg(metavar="CSV|JSON")] = None
    """Write a table of the classes: class, support (videos), precision, recall, f1 and, for any number of labels,
    AP."""
    json: bool = False
    """Print JSON: {"top1", "top5", "mean_class", "videos"}, or {"mAP", "top1", "videos"} for any number of labels."""


def run(arguments: Sequence[str]) -> int:
    """Compute and print the metrics."""
    options = parse(Options, arguments, command="evaluate recognition")
    check_writable(options.per_class)
    from kinema.tasks.recognition.evaluation.ensemble import evaluate_results

    report = evaluate_results(
        options.results,
        weights=options.weights,
        ground_truth=options.ground_truth,
        kind=options.source,
        root=options.root,
        labels=options.labels,
        average=options.average,
        skip_missing=options.skip_missing,
    )
    if options.per_class is not None:
        write_table(options.per_class, report.per_class)
    if options.json:
        print(strict_json.dumps(report.metrics))
    else:
        values = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in report.metrics.values())
        print_table(list(report.metrics), [list(values)])
    return 0
