"""`kinema evaluate proposals --ground-truth G --results R`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table
from kinema.tasks.localization.metrics.protocols import Protocol


@dataclass(kw_only=True)
class Proposals:
    """Compute the average recall at an average number of proposals (AR@AN) of any tool, and the area under its curve.

    Every video keeps the same share of its proposals, best first. Equal scores are ranked from the end of the file.
    """

    protocol: Protocol = "activitynet"
    """activitynet: tIoU 0.5, 0.55 … 0.95, AN = 1 … 100; the average is over videos with instances, proposals of other
    videos count in the number of proposals. thumos14: tIoU 0.5, 0.55 … 1, AN = 50 … 1000; segments are frames at 30 per
    second, ambiguous instances count, as in the program of DAPs, TURN and BSN."""

    ground_truth: Annotated[Path, tyro.conf.arg(metavar="JSON")]
    """Ground truth in ActivityNet's format, as written by `kinema prepare activitynet` and thumos14, or in that of
    MMAction2's anet_anno_*.json; labels are not needed."""
    results: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """Proposals in ActivityNet's format, {"results": {video: [{"segment": [start, end], "score"}]}}, in seconds; or a
    .txt file with lines `video start end class score`."""
    subset: str = ""
    """Subset to evaluate; default: all videos or, if there are several subsets, validation (activitynet) or test
    (thumos14). Proposals of other videos are ignored."""
    json: bool = False
    """Print JSON, fractions: {"AR@1": …, "AR@5": …, "AR@10": …, "AR@100": …, "AUC": …}, or of thumos14 {"AR@50": …,
    "AR@100": …, "AR@200": …, "AR@500": …, "AR@1000": …}."""


def run(arguments: Sequence[str]) -> int:
    """Compute and print the metrics."""
    options = parse(Proposals, arguments, command="evaluate proposals")
    from kinema.tasks.localization.metrics.evaluation import evaluate_proposals

    metrics = evaluate_proposals(
        options.ground_truth, options.results, protocol=options.protocol, subset=options.subset
    )
    if options.json:
        print(strict_json.dumps(metrics))
    else:
        print_table(list(metrics), [[f"{value:.4f}" for value in metrics.values()]])
    return 0
