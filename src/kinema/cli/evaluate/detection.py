"""`kinema evaluate detection --protocol P --ground-truth G --results R`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table
from kinema.tasks.localization.metrics.detection import Protocol
from kinema.tasks.localization.metrics.error_analysis import as_json, bins_table, kinds_table
from kinema.tasks.localization.metrics.evaluation import evaluate_detection


@dataclass(kw_only=True)
class Detection:
    """Measure detections of any tool: mean average precision at thresholds of temporal overlap (mAP@tIoU)."""

    protocol: Protocol = "activitynet"
    """activitynet: interpolated precision, mean over tIoU 0.5, 0.55 … 0.95; thumos14: the official TH14evalDet, tIoU
    0.3, 0.4 … 0.7, with its ambiguous instances. Of equal scores the last in the file counts first (activitynet), or
    the first (thumos14), as in the official programs."""
    ground_truth: Annotated[Path, tyro.conf.arg(metavar="JSON")]
    """Ground truth in ActivityNet's layout, as `kinema prepare activitynet` and thumos14 write it, or in that of
    MMAction2's anet_anno_*.json."""
    results: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """Detections in ActivityNet's layout: {"results": {video: [{"segment": [start, end], "score", "label"}]}}, in
    seconds; or a .txt file with lines video start end class score, as for THUMOS14's challenge."""
    subset: str = ""
    """Videos that count; when not given, all of them, or of several subsets validation (activitynet) or test
    (thumos14). Results of videos of other subsets are left out."""
    thresholds: tuple[float, ...] = ()
    """Thresholds of tIoU; when not given, the protocol's."""
    video_classes: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Class scores of whole videos, which label the results: these may then be proposals. JSON {"class": [name, …],
    "results": {video: [score, …]}}, as CUHK's, or {"results": {video: [{"label", "score"}, …]}}, as ActivityNet's, or
    the npz of `kinema test --dump`. Proposals of videos without class scores are left out."""
    top_classes: Annotated[int, Ge(1)] = 1
    """Classes that a video has, of --video-classes: its best ones."""
    strict: bool = False
    """Refuse results of labels that the ground truth does not have, and videos without class scores. When not given,
    these results are left out and counted: a class that no instance has takes no part in the mean."""
    errors: bool = False
    """Tell, too, what is wrong with the detections and which instances are hard, as DETAD does."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="PNG")] = None
    """Draw what --errors tells."""
    json: bool = False
    """Print JSON: {"mAP": {"0.5": …}, "average_mAP": …, "left_out": …}, fractions and the number of results left out;
    with --errors also "errors"."""


def run(arguments: Sequence[str]) -> int:
    """Measure and print."""
    options = parse(Detection, arguments, command="evaluate detection")
    report = evaluate_detection(
        options.ground_truth,
        options.results,
        protocol=options.protocol,
        subset=options.subset,
        thresholds=options.thresholds,
        video_classes=options.video_classes,
        top_classes=options.top_classes,
        strict=options.strict,
        errors=options.errors or options.plot is not None,
    )
    if report.errors and options.plot:
        from kinema.tasks.localization.metrics.error_plot import draw_errors  # takes longer than all the rest

        draw_errors(report.errors, options.plot)
    if options.json:
        errors = {"errors": as_json(report.errors)} if report.errors and options.errors else {}
        print(strict_json.dumps(report.metrics | errors))
        return 0
    rows = [[name, f"{value:.4f}"] for name, value in report.metrics["mAP"].items()]
    print_table(["tIoU", "mAP"], [*rows, ["average", f"{report.metrics['average_mAP']:.4f}"]])
    if report.errors and options.errors:
        for table in (kinds_table(report.errors), bins_table(report.errors)):
            print()
            print_table(*table)
    return 0
