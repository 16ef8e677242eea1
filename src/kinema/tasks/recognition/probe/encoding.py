"""Extraction of the features that a probe is trained on."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from kinema.console import progress
from kinema.data.lists.index import Index
from kinema.data.samples import SampleKey
from kinema.data.views import TrainClip, Views
from kinema.models import name_of
from kinema.models.capabilities import HasProbe, require
from kinema.runtime.device import autocast
from kinema.runtime.processes import Process
from kinema.tasks.recognition.probe.cache import FeatureCache
from kinema.tasks.recognition.probe.data import Batches, ClipsToEncode
from kinema.tasks.recognition.scoring import as_clips, in_parts
from kinema.tasks.recognition.settings import RecognitionConfig
from kinema.training.order import load_batches
from kinema.weights.model_files import OF_TRAINING

log = logging.getLogger(__name__)

OPTION = "--task.probe.clips"
_FRAMES_OF_A_BATCH = 256
_OF_DECODER = ("pool", "pool_width", "pool_depth", "pool_parts", "probe_depth", "probe_heads", "probe_eps")
"""Model options that do not change what the encoder returns."""


def settings_of(model: nn.Module, config: RecognitionConfig[Any], clips: TrainClip | Views) -> dict[str, object]:
    """Return everything but the video that the features of a clip depend on."""
    data = config.data
    return {
        "network": name_of(config.model),
        "options": {
            name: value for name, value in asdict(config.model).items() if name not in (*OF_TRAINING, *_OF_DECODER)
        },
        "weights": _digest(model),
        "clips": asdict(clips),
        "seed": config.training.seed if isinstance(clips, TrainClip) else 0,
        "read": [data.source, data.template, data.start],
        "precision": config.runtime.precision,
    }


def _digest(model: nn.Module) -> str:
    """Return a hash of the encoder's weights."""
    trained = {
        id(value)
        for layer in require(model, HasProbe, OPTION).decoder_layers()
        for value in layer.state_dict(keep_vars=True).values()
    }
    digest = hashlib.blake2b(digest_size=16)
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in trained:
            digest.update(name.encode())
            digest.update(value.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def encode(
    model: nn.Module,
    clips: ClipsToEncode,
    index: Index,
    cache: FeatureCache,
    config: RecognitionConfig[Any],
    process: Process,
    *,
    variants: int,
    frames: int,
    title: str,
    check_stop: Callable[[], None],
) -> None:
    """Compute the features that are not cached, of `variants` clips of each video with `frames` frames in all.

    Videos that cannot be read are recorded in `cache`. Leaves the model in its mode. `check_stop` is called after each
    batch, whose features are kept.
    """
    encoder, training = require(model, HasProbe, OPTION), model.training
    batches = _missing(cache, len(index), variants, max(1, _FRAMES_OF_A_BATCH // frames))
    clips_left = sum(map(len, batches))
    if not clips_left:
        return
    model.eval()
    loader = load_batches(clips, Batches(batches), config.data.workers, process)
    with progress(title, len(index) * variants, done=len(index) * variants - clips_left) as meter:
        for keys, batch in zip(batches, loader, strict=True):
            reasons = {file.path: file.reason for file in batch.bad}
            for key in keys:
                if (name := index.name(key.row)) in reasons:
                    cache.set_bad(key.row, reasons[name])
            if len(batch):
                with autocast(process.device, config.runtime):
                    features = _features(encoder, batch.to(process.device).inputs)
                for row, value in zip(batch.rows.tolist(), features, strict=True):
                    cache.write(row, keys[0].epoch, value)
            meter.advance(len(keys))
            check_stop()
    model.train(training)


def _features(encoder: HasProbe, inputs: Tensor) -> Tensor:
    """Clips (B, V, T, C, H, W) → features (B, V, …)."""
    return in_parts(encoder.encode, as_clips(inputs)).float().unflatten(0, inputs.shape[:2])


def _missing(cache: FeatureCache, videos: int, variants: int, batch_size: int) -> Sequence[list[SampleKey]]:
    batches = []
    for variant in range(variants):
        rows = [row for row in range(videos) if not cache.has(row, variant)]
        keys = [SampleKey(variant, row) for row in rows]
        batches += [keys[first : first + batch_size] for first in range(0, len(keys), batch_size)]
    return batches
