"""Evaluation of a localizer's proposals."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader

from kinema.console import progress
from kinema.data.bad_files import all_gather_bad_files
from kinema.data.samples import BadFile, Batch
from kinema.runtime.device import RuntimeOptions, autocast
from kinema.runtime.processes import Process, outage_shared
from kinema.tasks.localization.data.features import OpenSplit
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.options import LocalizerOptions
from kinema.training.parallel.distributed import mean_loss


@dataclass(frozen=True, kw_only=True)
class ProposalEvaluation:
    """Of all processes.

    metrics: `loss`, see `LocalizerOptions.evaluation_loss`; those of the task, such as `AR@1`, `AR@5`, `AR@10`,
    `AR@100` and `AUC` (fractions), and `videos`, `bad_files` (counts). proposals: of each video in seconds, by its row
    in the ground truth. bad: files that could not be read.
    """

    metrics: dict[str, float]
    proposals: dict[int, Proposals]
    bad: list[BadFile]


def evaluate_localizer(
    model: nn.Module,
    batches: DataLoader[Batch[Any]],
    *,
    split: OpenSplit,
    task: LocalizerOptions,
    runtime: RuntimeOptions,
    process: Process,
) -> ProposalEvaluation:
    """Propose segments in every video of `batches` of `split`, and measure them. Leaves `model` in eval mode.

    All instances of the ground truth are measured, also those that lie outside what the features cover.
    """
    model.eval()
    device = process.device
    found, bad = dict[int, Proposals](), list[BadFile]()
    loss = torch.zeros(2, dtype=torch.float64, device=device)
    meter_of = progress("testing", len(batches), show=process.is_main)
    # Losses that sample segments draw the same ones each time.
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        outage_shared(),
        torch.inference_mode(),
        autocast(device, runtime),
        meter_of as meter,
    ):
        torch.manual_seed(0)
        for batch in batches:
            bad.extend(batch.bad)
            if len(batch):
                here = batch.to(device)
                output = task.forward(model, here.inputs)
                loss += torch.stack(task.evaluation_loss(output, here)).double()
                found.update(zip(batch.rows.tolist(), task.proposals(output, batch, split), strict=True))
            meter.advance()
    found, bad = task.merge(_all_gather(found), split), all_gather_bad_files(bad)
    metrics = task.metrics(split, found)
    return ProposalEvaluation(
        metrics={"loss": mean_loss(loss), **metrics, "videos": len(found), "bad_files": len(bad)},
        proposals=found,
        bad=bad,
    )


def _all_gather(found: dict[int, Proposals]) -> dict[int, Proposals]:
    """Return the proposals of all processes, by row."""
    if dist.is_initialized():
        parts: list[dict[int, Proposals]] = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(parts, found)
        found = {row: proposals for part in parts for row, proposals in part.items()}
    return dict(sorted(found.items()))
