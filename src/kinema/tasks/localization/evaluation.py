"""What localizers propose for the videos of a ground truth, and how good that is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader

from kinema.console import progress
from kinema.data.bad_files import all_gather_bad_files
from kinema.data.batch import BadFile
from kinema.data.features.source import FeatureSource
from kinema.data.features.spans import FeatureSpan
from kinema.data.loader import EvalBatches, load
from kinema.models.bmn import BMNOutput
from kinema.models.bsn import TEMOutput
from kinema.runtime.device import RuntimeOptions, autocast
from kinema.runtime.processes import outage_shared
from kinema.tasks.localization.data import (
    CollateFeatures,
    FeatureDataset,
    LoadingOptions,
    LocalizationBatch,
    ProposalData,
    ProposalDataset,
    collate_candidates,
)
from kinema.tasks.localization.generation.pgm import generate
from kinema.tasks.localization.generation.postprocess import (
    Proposals,
    as_results,
    bmn_proposals,
    bsn_proposals,
    in_seconds,
)
from kinema.tasks.localization.generation.proposal_files import read_described
from kinema.tasks.localization.labels import TEMLabels
from kinema.tasks.localization.metrics.evaluation import proposal_metrics
from kinema.tasks.localization.options import BMNTask, LocalizationTask, TEMTask
from kinema.tasks.localization.videos import Videos


@dataclass(frozen=True, kw_only=True)
class ProposalEvaluation:
    """Of all processes.

    metrics: `AR@1`, `AR@5`, `AR@10`, `AR@100`, `AUC` (fractions), `videos`, `bad_files` (counts). proposals: of each
    video in seconds, by its row in the ground truth. bad: files that could not be read.
    """

    metrics: dict[str, float]
    proposals: dict[int, Proposals]
    bad: list[BadFile]


def feature_batches(
    videos: Videos,
    source: FeatureSource,
    options: LoadingOptions,
    *,
    workers: int,
    rank: int = 0,
    world: int = 1,
    pin: bool = False,
) -> DataLoader[LocalizationBatch]:
    """The features of every video once, without labels, dealt out to `world` processes."""
    order = EvalBatches(len(videos), options.val_batch_size, rank=rank, world=world)
    collate = CollateFeatures(videos, lambda instances: TEMLabels(*torch.zeros(3, len(instances), 1)))
    return load(FeatureDataset(videos, source), order, collate=collate, workers=workers, pin=pin)


def candidate_batches(
    videos: Videos, options: ProposalData, *, workers: int, rank: int = 0, world: int = 1, pin: bool = False
) -> DataLoader[LocalizationBatch]:
    """The candidates of every video once, dealt out to `world` processes."""
    order = EvalBatches(len(videos), options.val_batch_size, rank=rank, world=world)
    return load(ProposalDataset(videos, options), order, collate=collate_candidates, workers=workers, pin=pin)


def evaluate_localizer(
    model: nn.Module,
    batches: DataLoader[LocalizationBatch],
    *,
    videos: Videos,
    task: LocalizationTask,
    data: LoadingOptions,
    runtime: RuntimeOptions,
    device: torch.device,
    show: bool = True,
) -> ProposalEvaluation:
    """Let a BMN, TEM or PEM propose segments in every video of `batches`. Leaves `model` in eval mode.

    All instances of the ground truth are measured, also those that lie outside what the features cover.
    """
    model.eval()
    found, bad = dict[int, Proposals](), list[BadFile]()
    meter_of = progress("testing", len(batches), show=show)
    with outage_shared(), torch.inference_mode(), autocast(device, runtime), meter_of as meter:
        for batch in batches:
            bad.extend(batch.bad)
            if len(batch):
                rows = batch.indices.tolist()
                output = model(batch.to(device).inputs)
                for row, (proposals, span) in zip(rows, _proposals(output, rows, videos, task, data), strict=True):
                    found[row] = in_seconds(proposals, span)
            meter.advance()
    found, bad = _of_all(found), all_gather_bad_files(bad)
    metrics = proposal_metrics(videos.truth, as_results(found))
    return ProposalEvaluation(
        metrics={**metrics, "videos": len(found), "bad_files": len(bad)}, proposals=found, bad=bad
    )


def _proposals(
    output: Any, rows: list[int], videos: Videos, task: LocalizationTask, data: LoadingOptions
) -> Iterator[tuple[Proposals, FeatureSpan]]:
    """Of each video of a batch, in fractions of the seconds that are given with them."""
    if isinstance(task, BMNTask):
        for row, confidence, start, end in zip(rows, *_arrays(output), strict=True):
            yield bmn_proposals(confidence, start, end, task.nms), videos.spans[row]
    elif isinstance(task, TEMTask):
        _, starts, ends = _arrays(output)
        for row, start, end in zip(rows, starts, ends, strict=True):
            candidates = generate(start, end, task.generation)
            yield bsn_proposals(candidates, np.ones(len(candidates.starts)), task.nms), videos.spans[row]
    else:
        assert isinstance(data, ProposalData)
        confidence, first = output.float().cpu().numpy(), 0
        for row in rows:  # of the page cache: the loader has just read them
            described = read_described(data.proposals, videos.name(row))
            last = first + len(described.candidates.starts)
            yield bsn_proposals(described.candidates, confidence[first:last], task.nms), described.span
            first = last


def _arrays(output: BMNOutput | TEMOutput) -> tuple[Any, ...]:
    return tuple(tensor.float().cpu().numpy() for tensor in output)


def _of_all(found: dict[int, Proposals]) -> dict[int, Proposals]:
    """What all processes have found, in every one of them, by row."""
    if dist.is_initialized():
        parts: list[dict[int, Proposals]] = [{} for _ in range(dist.get_world_size())]
        dist.all_gather_object(parts, found)
        found = {row: proposals for part in parts for row, proposals in part.items()}
    return dict(sorted(found.items()))
