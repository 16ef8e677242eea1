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
    """Measure proposals of any tool: average recall at an average number of proposals (AR@AN), and the area under it.

    By ActivityNet's protocol: over tIoU 0.5, 0.55 … 0.95, with up to 100 proposals a video on average. The average is
    over the videos with instances; proposals of videos without any count in the number of proposals. Of equal scores
    the last in the file counts first.
    """

    ground_truth: Annotated[Path, tyro.conf.arg(metavar="JSON")]
    """Ground truth in ActivityNet's layout, as `kinema prepare activitynet` and thumos14 write it, or in that of
    MMAction2's anet_anno_*.json; labels are not needed."""
    results: Annotated[Path, tyro.conf.arg(metavar="JSON")]
    """Proposals in ActivityNet's layout: {"results": {video: [{"segment": [start, end], "score"}]}}, in seconds."""
    subset: str = ""
    """Videos that count; when not given, all of them, or of several subsets validation. Proposals of videos of other
    subsets are left out."""
    json: bool = False
    """Print JSON: {"AR@1": …, "AR@5": …, "AR@10": …, "AR@100": …, "AUC": …}, fractions."""


def run(arguments: Sequence[str]) -> int:
    """Measure and print."""
    options = parse(Proposals, arguments, command="evaluate proposals")
    metrics = evaluate_proposals(options.ground_truth, options.results, subset=options.subset)
    if options.json:
        print(strict_json.dumps(metrics))
    else:
        print_table(list(metrics), [[f"{value:.4f}" for value in metrics.values()]])
    return 0
