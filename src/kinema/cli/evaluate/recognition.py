"""`kinema evaluate recognition --results NPZ… [--weights …]`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table
from kinema.data.lists.index import LabelMode, MediaKind
from kinema.tasks.recognition.ensemble import evaluate_results


@dataclass(kw_only=True)
class Options:
    """Measure scores of videos that were kept, of one model or of several averaged, such as RGB and flow.

    `kinema test MODEL --dump rgb.npz` keeps them.
    """

    results: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="NPZ")]
    """Files with `paths`, `scores` (probabilities) and, when known, `labels` and `classes`."""
    weights: Annotated[tuple[float, ...], tyro.conf.arg(metavar="NUMBER")] = ()
    """Weight of each result; when not given, all count the same."""
    ground_truth: Annotated[Path | None, tyro.conf.arg(metavar="LIST|NPZ")] = None
    """The videos' labels: a folder of class folders, a CSV/TSV, a list file, or an npz with `paths` and `labels`. When
    not given, the labels in the results."""
    source: MediaKind = "video"
    """What such a list names: video files, folders of images, or packed files of them."""
    root: str = ""
    """Folder that relative paths in the list start from; empty: the list's own folder."""
    labels: LabelMode = "single"
    """Whether such a list has one label a video, or any number. Results and npz files say it by their labels."""
    average: Literal["prob", "score"] = "prob"
    """What is averaged: probabilities (prob) or logits (score)."""
    skip_missing: bool = False
    """Leave out videos that a result lacks, instead of refusing."""
    json: bool = False
    """Print JSON: {"top1", "top5", "mean_class", "videos"}, or {"mAP", "top1", "videos"} for any number of labels."""


def run(arguments: Sequence[str]) -> int:
    """Evaluate and print."""
    options = parse(Options, arguments, command="evaluate recognition")
    metrics = evaluate_results(
        options.results,
        weights=options.weights,
        ground_truth=options.ground_truth,
        kind=options.source,
        root=options.root,
        labels=options.labels,
        average=options.average,
        skip_missing=options.skip_missing,
    )
    if options.json:
        print(strict_json.dumps(metrics))
    else:
        values = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in metrics.values())
        print_table(list(metrics), [list(values)])
    return 0
