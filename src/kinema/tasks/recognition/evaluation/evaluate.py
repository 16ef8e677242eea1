"""Evaluation of a recognizer on labeled videos, for validation and testing."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kinema.console import progress
from kinema.data.bad_files import all_gather_bad_files
from kinema.data.dataset import ViewDataset
from kinema.data.lists.index import Index
from kinema.data.loader import EvalBatches
from kinema.data.options import DataOptions
from kinema.data.samples import BadFile, Batch
from kinema.data.views import Views
from kinema.runtime.device import RuntimeOptions, autocast
from kinema.runtime.processes import Process, outage_shared
from kinema.tasks.recognition.evaluation.metrics import recognition_metrics
from kinema.tasks.recognition.evaluation.per_class import PerClass
from kinema.tasks.recognition.scoring import video_losses, video_scores, view_logits
from kinema.tasks.recognition.settings import RecognitionSettings
from kinema.training.order import load_batches
from kinema.training.parallel.distributed import mean_loss

_FRAMES_OF_A_BATCH = 1024  # 200 MB of 256×256 pixels


@dataclass
class Evaluation:
    """Results of an evaluation.

    metrics: `loss` (see `video_losses`), `top1`, `top5`, `mean_class` (fractions), `videos`, `bad_files` (counts), over
        all processes; where videos have any number of labels `mAP` (mean average precision) instead of `top5` and
        `mean_class`.
    confusion: (classes, classes) int64, videos by true (row) and predicted class (column), over all processes; None
        where videos have any number of labels.
    per_class: metrics of each class, over all processes.
    rows, scores: the rows of the index that this process scored, (n,) int64, and their probabilities, (n, classes);
        `gather_on_main` gathers those of all processes.
    logits: of the views of these videos, (n, views, classes), if they are kept; of this process alone.
    bad: files that could not be read, over all processes.
    """

    metrics: dict[str, float]
    confusion: Tensor | None
    per_class: PerClass
    rows: NDArray[np.int64]
    scores: NDArray[np.float32]
    bad: list[BadFile]
    logits: Tensor | None = None


def gather_on_main(evaluation: Evaluation) -> Evaluation:
    """Gather the scores of all processes, in the order of the rows, in the main process. Collective."""
    if not dist.is_initialized():
        return evaluation
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]] | None = None
    if dist.get_rank() == 0:
        parts = [(evaluation.rows, evaluation.scores)] * dist.get_world_size()
    dist.gather_object((evaluation.rows, evaluation.scores), parts)
    if parts is None:
        return evaluation
    rows = np.concatenate([rows for rows, _ in parts])
    order = rows.argsort()
    return replace(evaluation, rows=rows[order], scores=np.concatenate([scores for _, scores in parts])[order])


def evaluation_batches(index: Index, views: Views, options: DataOptions, process: Process) -> DataLoader[Batch[Tensor]]:
    """Return this process's share of the videos of `index`, each once.

    A batch holds `val_batch_size` videos, or fewer where these would make more than 1024 frames: of videos with
    10 × 3 views of 32 frames it holds one, as every loader process keeps some batches ready.
    """
    videos = max(1, min(options.val_batch_size, _FRAMES_OF_A_BATCH // views.frames))
    order = EvalBatches(len(index), videos, rank=process.rank, world=process.world)
    return load_batches(ViewDataset(index, views, options), order, options.workers, process)


def evaluate(
    model: nn.Module,
    batches: DataLoader[Batch[Tensor]],
    *,
    num_classes: int,
    task: RecognitionSettings,
    runtime: RuntimeOptions,
    process: Process,
    keep_logits: bool = False,
) -> Evaluation:
    """Score all videos of `batches` and compute metrics over all processes. Leaves `model` in eval mode."""
    kept = list[Tensor]()
    model.eval()
    device = process.device
    metrics = recognition_metrics(task.labels, num_classes, device)
    rows, scores, bad = [np.empty(0, np.int64)], [np.empty((0, num_classes), np.float32)], list[BadFile]()
    loss = torch.zeros(2, dtype=torch.float64, device=device)
    meter_of = progress("testing", len(batches), show=process.is_main)
    with outage_shared(), torch.inference_mode(), autocast(device, runtime), meter_of as meter:
        for batch in batches:
            bad.extend(batch.bad)
            meter.advance()
            if not len(batch):
                continue
            here = batch.to(device)
            logits = view_logits(model, here.inputs)
            kept += [logits.cpu()] if keep_logits else []
            losses, answer = video_losses(logits, here.targets, task), video_scores(logits, task)
            loss += torch.stack([losses.double().sum(), losses.new_tensor(len(losses), dtype=torch.float64)])
            metrics.update(answer, here.targets)
            rows.append(batch.rows.numpy())
            scores.append(answer.cpu().numpy())
    bad = all_gather_bad_files(bad)
    values, confusion = metrics.compute()
    found = {"loss": mean_loss(loss), **values, "bad_files": len(bad)}
    return Evaluation(
        metrics=found,
        confusion=confusion,
        per_class=metrics.per_class(),
        rows=np.concatenate(rows),
        scores=np.concatenate(scores),
        bad=bad,
        logits=torch.cat(kept) if kept else None,
    )
