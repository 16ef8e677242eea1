"""Evaluation of a pre-trained network: its loss, and a picture of what it reconstructs."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from kinema.console import progress
from kinema.data.bad_files import all_gather_bad_files
from kinema.data.dataset import ViewDataset
from kinema.data.lists.index import Index
from kinema.data.loader import EvalBatches
from kinema.data.samples import BadFile, Batch
from kinema.models.transformer import tubelets
from kinema.models.videomae_pretraining import VideoMAEPretraining
from kinema.runtime.device import RuntimeOptions, autocast
from kinema.runtime.processes import Process, outage_shared
from kinema.tasks.pretraining.data import UnlabeledClips
from kinema.tasks.pretraining.masking import Masking, MaskOptions, Masks, mask_loss
from kinema.training.order import load_batches
from kinema.training.parallel.distributed import mean_over_processes
from kinema.training.task import Validation

SHOWN_CLIPS, SHOWN_FRAMES = 4, 4
GREY = 128
GAP = 4


def view_batches(index: Index, options: UnlabeledClips, process: Process) -> DataLoader[Batch[Tensor]]:
    """Return this process's share of the videos of `index`, each once."""
    order = EvalBatches(len(index), options.val_batch_size, rank=process.rank, world=process.world)
    return load_batches(ViewDataset(index, options.val_views, options), order, options.workers, process)


def evaluate(
    model: VideoMAEPretraining,
    batches: DataLoader[Batch[Tensor]],
    masking: Masking,
    task: MaskOptions,
    *,
    runtime: RuntimeOptions,
    process: Process,
) -> Validation:
    """Reconstruct the hidden tokens of all videos of `batches`, and compute the loss over all processes.

    The masks depend on a video's row alone: they are the same in every evaluation. All hidden tokens are decoded.
    Leaves `model` in eval mode.

    Returns:
        metrics: `loss`, `videos` and `bad_files`.
        pictures: `reconstruction`, of the first videos of the main process; see `reconstruction`.
    """
    model.eval()
    device, bad, picture = process.device, list[BadFile](), None
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    meter_of = progress("validating", len(batches), show=process.is_main)
    with outage_shared(), torch.inference_mode(), autocast(device, runtime), meter_of as meter:
        for batch in batches:
            bad.extend(batch.bad)
            meter.advance()
            if not len(batch):
                continue
            clips = batch.to(device).inputs.flatten(0, 1).transpose(1, 2)
            masks = masking.draw(_generators(batch.rows, len(clips)), whole=True).to(device)
            pixels = model(clips, masks.visible, masks.decoded).float()
            targets = model.targets(clips, masks.decoded, normalize=task.normalize_targets)
            total, count = mask_loss(pixels, targets, masks.counted)
            sums += torch.stack([total.double(), count.double(), count.new_tensor(len(batch)).double()])
            if picture is None and process.is_main:
                picture = reconstruction(model, clips[:SHOWN_CLIPS], masks, pixels, normalized=task.normalize_targets)
    bad = all_gather_bad_files(bad)
    total, count, videos = mean_over_processes(sums).tolist()
    loss = total / count if count else float("nan")
    metrics = {"loss": loss, "videos": round(videos * process.world), "bad_files": len(bad)}
    return Validation(metrics, bad, {} if picture is None else {"reconstruction": picture})


def _generators(rows: Tensor, clips: int) -> list[torch.Generator]:
    """Return a generator for each clip of a batch, seeded by the video's row and the view's number."""
    views = clips // len(rows)
    seeds = [(int(row) << 16) + view for row in rows for view in range(views)]
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def reconstruction(
    model: VideoMAEPretraining, clips: Tensor, masks: Masks, pixels: Tensor, *, normalized: bool
) -> Tensor:
    """Return a picture (H, W, 3) uint8: of each clip a row of frames, of the visible tokens, and of the reconstruction.

    Clips are laid out in two columns, with white gaps of `GAP` pixels.

    Args:
        model: network that reconstructed `pixels`.
        clips: (N, 3, T, H, W) uint8.
        masks: of at least N clips.
        pixels: (N, D, P) or of more clips, as `model` returns them.
        normalized: whether these were normalized by the true mean and standard deviation of each token, which they are
            shown with.
    """
    count = len(clips)
    decoded, shown = masks.decoded[:count], pixels[:count]
    if normalized:
        true = model.targets(clips, decoded, normalize=False).unflatten(2, (-1, 3))
        mean, std = true.mean(dim=2, keepdim=True), true.std(dim=2, keepdim=True)
        shown = (shown.unflatten(2, (-1, 3)) * (std + 1e-6) + mean).flatten(2)
    tokens = tubelets(clips, model.tubelet, model.patch).flatten(1, 3).float()
    at = decoded[..., None].expand_as(shown)
    hidden = tokens.scatter(1, at, torch.full_like(shown, GREY))
    filled = tokens.scatter(1, at, (shown * 255).clamp(0, 255))
    rows = [_frames(model, each) for each in (tokens, hidden, filled)]
    return _in_columns(torch.stack(rows, dim=1).flatten(1, 2).cpu())


def _in_columns(blocks: Tensor) -> Tensor:
    """Lay out pictures (N, H, W, 3) in two columns, from left to right."""
    if len(blocks) > 1 and len(blocks) % 2:
        blocks = torch.cat([blocks, torch.full_like(blocks[:1], 255)])
    columns = min(2, len(blocks))
    padded = F.pad(blocks, (0, 0, 0, GAP, 0, GAP), value=255).unflatten(0, (-1, columns))
    return padded.transpose(1, 2).flatten(2, 3).flatten(0, 1)[:-GAP, :-GAP]


def _frames(model: VideoMAEPretraining, tokens: Tensor) -> Tensor:
    """Pixels (N, L, P) of tokens → some frames of each clip side by side, (N, H, W, 3) uint8."""
    times, height, width = model.grid
    parts = tokens.unflatten(2, (model.tubelet, model.patch, model.patch, 3)).unflatten(1, (times, height, width))
    frames = parts.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(1, 2).flatten(2, 3).flatten(3, 4)  # (N, T, H, W, 3)
    chosen = torch.linspace(0, frames.shape[1] - 1, min(SHOWN_FRAMES, frames.shape[1])).long()
    return frames[:, chosen].permute(0, 2, 1, 3, 4).flatten(2, 3).round().to(torch.uint8)
