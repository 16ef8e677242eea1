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
from kinema.storage import write_table
from kinema.storage.outputs import check_writable
from kinema.tasks.localization.metrics.protocols import Protocol


@dataclass(kw_only=True)
class Detection:
    """Compute the mean average precision of any tool's detections at thresholds of temporal IoU (mAP@tIoU)."""

    protocol: Protocol = "activitynet"
    """activitynet: interpolated precision, mean over tIoU 0.5, 0.55 … 0.95; thumos14: the official TH14evalDet, tIoU
    0.3, 0.4 … 0.7, with its ambiguous instances. Equal scores are ranked from the end of the file (activitynet) or
    from its beginning (thumos14), as in the official programs."""
    ground_truth: Annotated[Path, tyro.conf.arg(metavar="JSON")]
    """Ground truth in ActivityNet's format, as written by `kinema prepare activitynet` and thumos14, or in that of
    MMAction2's anet_anno_*.json."""
    results: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """Detections in ActivityNet's format, {"results": {video: [{"segment": [start, end], "score", "label"}]}}, times in
    seconds; or a .txt file with lines `video start end class score`, as for the THUMOS14 challenge."""
    subset: str = ""
    """Subset to evaluate; default: all videos or, if there are several subsets, validation (activitynet) or test
    (thumos14). Results of other videos are ignored."""
    thresholds: tuple[float, ...] = ()
    """Thresholds of tIoU; default: those of the protocol."""
    video_classes: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Class scores of videos, by which the results, such as proposals, are labeled. JSON {"class": [name, …],
    "results": {video: [score, …]}} (CUHK's format) or {"results": {video: [{"label", "score"}, …]}} (ActivityNet's),
    or the npz of `kinema test --dump`. Proposals of videos without class scores are ignored."""
    top_classes: Annotated[int, Ge(1)] = 1
    """Number of best classes of each video that label its proposals, for --video-classes."""
    strict: bool = False
    """Exit with an error on labels that are not in the ground truth and on videos without class scores. By default,
    such results are ignored and counted: a class without instances is not part of the mean."""
    per_class: Annotated[Path | None, tyro.conf.arg(metavar="CSV|JSON")] = None
    """Write a table of the classes: class, instances, AP at each threshold, their mean."""
    errors: bool = False
    """Also report kinds of errors, and recall by properties of the instances, as DETAD (Alwassel et al. 2018)."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="PNG")] = None
    """Draw the report of --errors."""
    json: bool = False
    """Print JSON: {"mAP": {"0.5": …}, "average_mAP": …, "left_out": …}, fractions and the number of ignored results;
    with --errors also "errors"."""


def run(arguments: Sequence[str]) -> int:
    """Compute and print the metrics."""
    options = parse(Detection, arguments, command="evaluate detection")
    from kinema.tasks.localization.metrics.error_analysis import as_json, bins_table, kinds_table
    from kinema.tasks.localization.metrics.evaluation import evaluate_detection

    check_writable(options.per_class, options.plot)
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
    if options.per_class is not None:
        write_table(options.per_class, report.per_class)
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
