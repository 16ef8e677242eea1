"""Training of a probe."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kinema.data.dataset import ClipDataset, ViewDataset
from kinema.data.lists.folds import folds_of, groups_of
from kinema.data.lists.index import Index
from kinema.data.loader import EvalBatches
from kinema.data.samples import Batch
from kinema.data.timetable import Timetable
from kinema.data.views import TrainClip, Views
from kinema.errors import MediaError, UserError
from kinema.models import Recognizer
from kinema.models.capabilities import HasHead, HasProbe, require
from kinema.runtime.processes import Process
from kinema.tasks.recognition.probe.cache import FeatureCache
from kinema.tasks.recognition.probe.data import CachedFeatures, ClipsToEncode
from kinema.tasks.recognition.probe.encoding import OPTION, encode, settings_of
from kinema.tasks.recognition.probe.ridge import HeadInputs, fit_ridge
from kinema.tasks.recognition.settings import RecognitionConfig
from kinema.tasks.recognition.task import RecognitionTask, open_recognition
from kinema.training.order import load_batches
from kinema.training.task import Loss, Validation
from kinema.weights.published.cache import cache_folder

log = logging.getLogger(__name__)

_FIT = "--task.probe.fit"
_INNER_FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class ProbeTask(RecognitionTask):
    """Training of a recognizer's last layers on cached features of the frozen rest."""

    caches: dict[str, FeatureCache] = field(default_factory=dict)
    """Features of the training and validation videos, `train` and `val`, once they are prepared."""

    @property
    def reads(self) -> str:
        """Source of the batches, for the log."""
        return "trained on cached features of the frozen network"

    def empty_model(self) -> Recognizer:
        """Return the model with random weights, all frozen but those of the last layers."""
        model = super().empty_model()
        model.requires_grad_(requires_grad=False)
        for layer in require(model, HasProbe, OPTION).decoder_layers():
            layer.requires_grad_(requires_grad=True)
        return model

    def prepare(self, model: nn.Module, check_stop: Callable[[], None]) -> None:
        """Compute the features that are not cached yet; see `HasPreparation`."""
        data, clip, views = self.config.data, self.config.data.train_clip, self.config.data.val_views
        clips = ClipDataset(self.train, [clip], data, seed=self.config.training.seed)
        self._prepare(model, "train", self.train, clips, clip, check_stop, variants=self.config.task.probe.clips)
        if self.val is not None:
            self._prepare(model, "val", self.val, ViewDataset(self.val, views, data), views, check_stop, variants=1)
        if self.config.task.probe.fit == "ridge":
            self._fit_ridge(model)

    @torch.no_grad()
    def _fit_ridge(self, model: nn.Module) -> None:
        """Compute the head in closed form."""
        encoder, head = require(model, HasProbe, _FIT), require(model, HasHead, _FIT).head
        trained = {id(each) for layer in encoder.decoder_layers() for each in layer.parameters()}
        if trained != {id(each) for each in head.parameters()}:
            raise UserError(
                f"{_FIT} ridge computes a linear head alone, but other layers before it are trained, too: pass steps"
            )
        variants, rows = self.config.task.probe.clips, list[int]()
        training = model.training
        model.eval()
        with HeadInputs(head) as inputs:
            for row in range(len(self.train)):
                try:
                    clips = [self.caches["train"].read(row, variant) for variant in range(variants)]
                except MediaError:
                    continue
                features = torch.cat(clips).to(self.process.device)
                encoder.decode(features)
                rows += [row] * len(features)
        model.train(training)
        labels = [self._label_set(row) for row in rows]
        targets = torch.zeros(len(rows), head.out_features)
        for target, each in zip(targets, labels, strict=True):
            target[list(each)] = 1
        folds = torch.from_numpy(self._inner_folds())[rows]
        fitted = fit_ridge(torch.cat(list(inputs)).cpu(), targets, folds, single=self.config.task.labels == "single")
        log.info(
            "ridge regression of %d clips: penalty %.3g, scale %.3g; mean squared error %.4f on parts held out in turn",
            len(rows), fitted.penalty, fitted.scale, fitted.error,
        )  # fmt: skip
        head.weight.copy_(fitted.weight)
        head.bias.copy_(fitted.bias)

    def _label_set(self, row: int) -> tuple[int, ...]:
        return (self.train.label(row),) if self.train.label_offsets is None else tuple(self.train.label_set(row))

    def _inner_folds(self) -> NDArray[np.int64]:
        """Return the part of each training video in inner validation."""
        data = self.config.data
        groups = groups_of(self.train, data.fold_by)
        most = len(self.train) if groups is None else int(groups.max()) + 1
        if most < 2:
            raise UserError(
                f"{_FIT} ridge: the training videos are all of one group, none of which can be held out: pass steps"
            )
        return folds_of(self.train, min(_INNER_FOLDS, most), group_by=data.fold_by, seed=data.fold_seed)

    def _prepare(
        self, model: nn.Module, split: str, index: Index, clips: ClipDataset | ViewDataset, shape: TrainClip | Views,
        check_stop: Callable[[], None], *, variants: int,
    ) -> None:  # fmt: skip
        settings = settings_of(model, self.config, shape)
        cache = FeatureCache(_folder(self.config.task.probe.cache), index, settings)
        seed, patience = self.config.training.seed, self.config.data.patience
        number, frames, _, _ = shape.shape
        encode(
            model,
            ClipsToEncode(clips, index, seed=seed, patience=patience),
            index,
            cache,
            self.config,
            self.process,
            variants=variants,
            frames=number * frames,
            title=f"features of {split}",
            check_stop=check_stop,
        )
        self.caches[split] = cache

    def train_batches(self, timetable: Timetable, *, first_step: int) -> DataLoader[Batch[Tensor]]:
        """Return training batches of features, starting at step `first_step`."""
        order = self._order(timetable, first_step)
        dataset = CachedFeatures(
            self.caches["train"], self.train, variants=self.config.task.probe.clips, seed=self.config.training.seed,
            replace=True,
        )  # fmt: skip
        return load_batches(dataset, order, 0, self.process)

    def statistics_batches(self, timetable: Timetable) -> DataLoader[Batch[Tensor]]:
        """Return training batches; there are no batch norms to recompute."""
        return self.train_batches(timetable, first_step=0)

    def val_batches(self) -> DataLoader[Batch[Tensor]]:
        """Return validation batches of features."""
        assert self.val is not None
        order = EvalBatches(len(self.val), self.config.data.val_batch_size)
        dataset = CachedFeatures(self.caches["val"], self.val, variants=1, seed=0, replace=False)
        return load_batches(dataset, order, 0, self.process)

    def loss(self, network: nn.Module, batch: Batch[Tensor]) -> Loss:
        """Return the loss of a batch and its top-1 accuracy."""
        loss = super().loss(_Decoder(network), batch)
        if self.config.task.probe.fit == "steps":
            return loss
        return Loss(loss.total.detach() + 0 * require(network, HasHead, _FIT).head.bias.sum(), loss.figures)

    def validate(self, model: nn.Module, batches: DataLoader[Batch[Tensor]]) -> Validation:
        """Evaluate the model on `val_batches`, leaving it in eval mode."""
        return super().validate(_Decoder(model), batches)


class _Decoder(nn.Module):
    """The last layers of a model as a network of features."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, encoded: Tensor) -> Tensor:
        """Features → logits."""
        return require(self.model, HasProbe, OPTION).decode(encoded)


def open_probe(config: RecognitionConfig[Any], process: Process) -> ProbeTask:
    """Open the videos of a probe's training; see `open_recognition`.

    Raises:
        UserError: also for options that change clips or the network while training.
    """
    if process.world > 1:
        raise UserError(f"{OPTION}: a probe is trained in one process: start it without torchrun")
    for option, (value, allowed) in _unfit(config).items():
        if value != allowed:
            raise UserError(
                f"{option} {value} is not for probes, which are trained on features computed once: set it to {allowed}"
            )
    if config.data.train_clip.crop.flip and config.data.train_clip.crop.flip_pairs:
        raise UserError(f"{OPTION}: cached clips keep their label, which flip_pairs would change: set crop.flip 0")
    task = open_recognition(config, process)
    return ProbeTask(**{each.name: getattr(task, each.name) for each in fields(task)})


def _unfit(config: RecognitionConfig[Any]) -> Mapping[str, tuple[object, object]]:
    """Return options by name that a probe does not have: (value, the only one allowed)."""
    values: dict[str, tuple[object, object]] = {
        "--task.mixup": (config.task.mixup, 0),
        "--task.cutmix": (config.task.cutmix, 0),
        "--task.multigrid.long-cycle": (config.task.multigrid.long_cycle, False),
        "--task.multigrid.short-cycle": (config.task.multigrid.short_cycle, False),
        "--training.precise-bn": (config.training.precise_bn, 0),
        "--runtime.compile": (config.runtime.compile, False),
    }
    if config.task.probe.fit == "ridge":
        values |= {
            "--schedule.epochs": (config.schedule.epochs, 1),
            "--optim.weight-decay": (config.optim.weight_decay, 0),
            "--training.ema-decay": (config.training.ema_decay, 0),
        }
    auto = {name: getattr(config.runtime, name) for name in ("precision", "channels_last")}
    fixed: dict[str, object] = {"precision": "fp32", "channels_last": True}
    values |= {
        f"--runtime.{name.replace('_', '-')}": (value, fixed[name]) for name, value in auto.items() if value == "auto"
    }
    return values


def _folder(cache: str) -> Path:
    return Path(cache) if cache else cache_folder() / "features"
