"""`kinema evaluate frames --protocol P --ground-truth G --results R`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Gt

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table
from kinema.storage import write_table
from kinema.storage.outputs import check_writable
from kinema.tasks.localization.metrics.protocols import FrameProtocol


@dataclass(kw_only=True)
class Frames:
    """Compute the mean average precision of any tool's detections at points in time (frame-level mAP).

    A point's score for a class is the highest one of the detections of that class that cover it.
    """

    protocol: FrameProtocol = "charades"
    """charades: 25 points at equal distances in each video, as Charades_v1_localize; multithumos: --rate points per
    second. Of equal scores, the first video and point of the ground truth are ranked first."""
    ground_truth: Annotated[Path, tyro.conf.arg(metavar="JSON")]
    """Ground truth in ActivityNet's format, or in that of MMAction2's anet_anno_*.json. Every video needs a
    duration."""
    results: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """Detections in ActivityNet's format, {"results": {video: [{"segment": [start, end], "score", "label"}]}}, times in
    seconds; or a .txt file with lines `video start end class score`."""
    rate: Annotated[float, Gt(0)] = 10.0
    """Points per second of --protocol multithumos: that of the features or frames of the results to compare with."""
    subset: str = ""
    """Subset to evaluate; default: all videos or, if there are several subsets, test."""
    strict: bool = False
    """Exit with an error on labels that are not in the ground truth. By default, such results are ignored and
    counted."""
    per_class: Annotated[Path | None, tyro.conf.arg(metavar="CSV|JSON")] = None
    """Write a table of the classes: class, points at which it happens, AP."""
    json: bool = False
    """Print JSON: {"mAP", "weighted_mAP", "points", "left_out"}: the mean over the classes, that weighted by the number
    of points at which they happen, the number of all points and of ignored results."""


def run(arguments: Sequence[str]) -> int:
    """Compute and print the metrics."""
    options = parse(Frames, arguments, command="evaluate frames")
    from kinema.tasks.localization.metrics.evaluation import evaluate_frames

    check_writable(options.per_class)
    report = evaluate_frames(
        options.ground_truth,
        options.results,
        protocol=options.protocol,
        rate=options.rate,
        subset=options.subset,
        strict=options.strict,
    )
    if options.per_class is not None:
        write_table(options.per_class, report.per_class)
    if options.json:
        print(strict_json.dumps(report.metrics))
        return 0
    values = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in report.metrics.values())
    print_table(list(report.metrics), [list(values)])
    return 0
