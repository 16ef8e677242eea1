"""`kinema evaluate proposals --ground-truth G --results R`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table
from kinema.tasks.localization.metrics.evaluation import evaluate_proposals


@dataclass(kw_only=True)
class Proposals:
    """Compute the average recall at an average number of proposals (AR@AN) of any tool, and the area under its curve.

    By ActivityNet's protocol: over tIoU 0.5, 0.55 … 0.95, with up to 100 proposals per video on average. The average is
    over videos with instances; proposals of other videos count in the number of proposals. Equal scores are ranked from
    the end of the file.
    """

    ground_truth: Annotated[Path, tyro.conf.arg(metavar="JSON")]
    """Ground truth in ActivityNet's format, as written by `kinema prepare activitynet` and thumos14, or in that of
    MMAction2's anet_anno_*.json; labels are not needed."""
    results: Annotated[Path, tyro.conf.arg(metavar="JSON")]
    """Proposals in ActivityNet's format: {"results": {video: [{"segment": [start, end], "score"}]}}, in seconds."""
    subset: str = ""
    """Subset to evaluate; default: all videos or, if there are several subsets, validation. Proposals of other videos
    are ignored."""
    json: bool = False
    """Print JSON: {"AR@1": …, "AR@5": …, "AR@10": …, "AR@100": …, "AUC": …}, fractions."""


def run(arguments: Sequence[str]) -> int:
    """Compute and print the metrics."""
    options = parse(Proposals, arguments, command="evaluate proposals")
    metrics = evaluate_proposals(options.ground_truth, options.results, subset=options.subset)
    if options.json:
        print(strict_json.dumps(metrics))
    else:
        print_table(list(metrics), [[f"{value:.4f}" for value in metrics.values()]])
    return 0
