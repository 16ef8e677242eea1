"""Training of localizers: BMN, and BSN's TEM and PEM."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, assert_never

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kinema.data.features.source import FeatureSource
from kinema.data.loader import load, num_workers
from kinema.data.timetable import Phase, Timetable
from kinema.errors import MediaError, UserError
from kinema.models import build
from kinema.models.bmn import BMNOptions
from kinema.runtime.processes import Process
from kinema.tasks.localization.data import (
    CollateFeatures,
    FeatureData,
    FeatureDataset,
    LocalizationBatch,
    ProposalDataset,
    collate_candidates,
    open_source,
    train_truth,
    val_file,
    val_truth,
)
from kinema.tasks.localization.description import read_localizer
from kinema.tasks.localization.evaluation import candidate_batches, evaluate_localizer, feature_batches
from kinema.tasks.localization.generation.proposal_files import read_origin
from kinema.tasks.localization.labels import BMNLabels, TEMLabels, bmn_labels, tem_labels
from kinema.tasks.localization.losses import bmn_loss, pem_loss, tem_loss
from kinema.tasks.localization.options import (
    BMNTask,
    LocalizationConfig,
    LocalizationTask,
    LocalizerDescription,
    PEMTask,
    TEMTask,
)
from kinema.tasks.localization.videos import Videos, say_what_is_too_short, with_features
from kinema.training.order import train_order
from kinema.training.schedule import CosineSchedule, StepSchedule
from kinema.training.task import Loss, Validation
from kinema.weights.model_files import check_same_weights, find_model, read_weights, warn_of_other_options

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LocalizerTask:
    """Training of a localizer; see `kinema.training.task.Task`."""

    config: LocalizationConfig[LocalizationTask]
    process: Process
    train: Videos
    val: Videos | None
    source: FeatureSource | None
    """The features; None where candidates of proposals are read."""

    @property
    def description(self) -> LocalizerDescription:
        """Contents of the checkpoints' `model.json`."""
        return self.config.describe()

    @property
    def num_train(self) -> int:
        """Videos of an epoch."""
        return len(self.train)

    @property
    def num_val(self) -> int:
        """Videos of a validation; 0: there is none."""
        return len(self.val or ())

    @property
    def phases(self) -> Sequence[Phase]:
        """The epochs of the training: all alike."""
        return [Phase(epochs=self.config.schedule.epochs)]

    @property
    def schedule(self) -> StepSchedule | CosineSchedule:
        """The learning rate over these epochs."""
        return self.config.schedule

    @property
    def reads(self) -> str:
        """What is read, for the log."""
        data = self.config.data
        if isinstance(data, FeatureData):
            return f"features of {' and '.join(data.features)}, brought to {data.parts} points"
        return f"candidates of {data.proposals}"

    def empty_model(self) -> nn.Module:
        """The model with random weights, the same ones for the same seed."""
        torch.manual_seed(self.config.training.seed)
        return build(self.config.model)

    def first_model(self) -> nn.Module:
        """The model with the weights of `training.init`, or random ones.

        Raises:
            UserError: `training.init` is no localizer, or of another architecture.
        """
        model = self.empty_model()
        if self.config.training.init:
            folder = find_model(Path(self.config.training.init))
            theirs = read_localizer(folder)
            weights = read_weights(folder)
            check_same_weights(model.state_dict(), weights, origin=self.config.training.init)
            warn_of_other_options(self.config.training.init, theirs.model, self.config.model)
            model.load_state_dict(weights)
        return model

    def train_batches(self, timetable: Timetable, *, first_step: int) -> DataLoader[LocalizationBatch]:
        """This process's training batches from a step on."""
        config, task = self.config, self.config.task
        order = train_order(config, self.num_train, timetable, self.process, first_step=first_step)
        pin, seed = self.process.device.type == "cuda", config.training.seed
        if not isinstance(config.data, FeatureData):
            candidates = ProposalDataset(self.train, config.data, seed=seed, replace=True)
            return load(candidates, order, collate=collate_candidates, workers=self._workers, pin=pin)
        assert self.source is not None
        features = FeatureDataset(self.train, self.source, seed=seed, replace=True)
        parts = config.data.parts
        label = (
            partial(tem_labels, parts=parts, boundary_ratio=task.boundary_ratio)
            if isinstance(task, TEMTask)
            else partial(bmn_labels, parts=parts)
        )
        return load(features, order, collate=CollateFeatures(self.train, label), workers=self._workers, pin=pin)

    def statistics_batches(self, timetable: Timetable) -> DataLoader[LocalizationBatch]:
        """The same from the start on."""
        return self.train_batches(timetable, first_step=0)

    def val_batches(self) -> DataLoader[LocalizationBatch]:
        """This process's part of the validation videos."""
        assert self.val is not None
        data, rank, world = self.config.data, self.process.rank, self.process.world
        pin = self.process.device.type == "cuda"
        if not isinstance(data, FeatureData):
            return candidate_batches(self.val, data, workers=self._workers, rank=rank, world=world, pin=pin)
        assert self.source is not None
        return feature_batches(self.val, self.source, data, workers=self._workers, rank=rank, world=world, pin=pin)

    @property
    def _workers(self) -> int:
        return num_workers(self.config.data.workers, self.process.local_world)

    def inputs(self, batch: LocalizationBatch) -> Tensor:
        """What the model takes of a batch."""
        return batch.inputs

    def loss(self, network: nn.Module, batch: LocalizationBatch) -> Loss:
        """The loss of a batch, and its parts."""
        output, labels, task = network(batch.inputs), batch.labels, self.config.task
        match task:
            case BMNTask():
                assert isinstance(labels, BMNLabels)
                total, *parts = bmn_loss(output, labels, task.loss)
                return Loss(total, dict(zip(("boundary", "regression", "classification"), parts, strict=True)))
            case TEMTask():
                assert isinstance(labels, TEMLabels)
                total, *parts = tem_loss(output, labels, task.loss)
                return Loss(total, dict(zip(("action", "start", "end"), parts, strict=True)))
            case PEMTask():
                assert isinstance(labels, Tensor)
                return Loss(pem_loss(output, labels, task.loss), {})
            case _:
                assert_never(task)

    def validate(self, model: nn.Module, batches: DataLoader[LocalizationBatch]) -> Validation:
        """Measure the model's proposals on `val_batches`. Leaves it in eval mode."""
        assert self.val is not None
        found = evaluate_localizer(
            model,
            batches,
            videos=self.val,
            task=self.config.task,
            data=self.config.data,
            runtime=self.config.runtime,
            device=self.process.device,
            show=self.process.is_main,
        )
        return Validation(found.metrics, found.bad)

    def score(self, metrics: Mapping[str, float]) -> float:
        """By which of its metrics a model is better than another: larger is better."""
        return metrics["AUC"]

    def summary(self, metrics: Mapping[str, float]) -> str:
        """The metrics that people look for, in a few words."""
        return f"AR@100 {metrics['AR@100']:.4f}, AUC {metrics['AUC']:.4f}"


def open_localization(config: LocalizationConfig[Any], process: Process) -> LocalizerTask:
    """The task of a localizer: its videos and their features, or candidates.

    Raises:
        UserError: the ground truth or the features are faulty, or options do not fit each other.
    """
    data, training = config.data, config.training
    if not data.ground_truth:
        raise UserError("no videos: say which there are with --data.ground-truth (a JSON file of ActivityNet's layout)")
    if training.precise_bn:
        raise UserError("--training.precise-bn is for recognizers")
    if (config.optim.layer_decay, config.optim.head_weight_lr, config.optim.head_bias_lr) != (1, 1, 1):
        raise UserError("--optim.layer-decay, --optim.head-weight-lr and --optim.head-bias-lr are for recognizers")
    train, val, source = Videos(truth=train_truth(data)), None, None
    if data.val_subset:
        val = Videos(truth=val_truth(data))
    else:
        log.warning("no --data.val-subset: nothing is validated, and `best` is not written")
    if isinstance(data, FeatureData):
        if isinstance(config.model, BMNOptions) and config.model.parts != data.parts:
            raise UserError(f"--model.parts {config.model.parts} and --data.parts {data.parts} must be the same")
        source = open_source(data, channels=config.model.feature_channels)
        _check_features(source, train)
        train = with_features(data.ground_truth, train.truth, source)
        if not any(map(len, train.instances)):
            raise UserError(f"{data.ground_truth}: no training video has an instance that its features cover")
        offset = config.task.grid_offset
        say_what_is_too_short(train, data.parts, offset=offset, what="training videos")
        if val is not None:
            val = with_features(val_file(data), val.truth, source)
            say_what_is_too_short(val, data.parts, offset=offset, what="validation videos")
    else:
        _check_candidates(data.proposals, config.task)
    return LocalizerTask(config=config, process=process, train=train, val=val, source=source)


def _check_features(source: FeatureSource, videos: Videos) -> None:
    """See at once when no features can be used, and why: the first few videos are tried."""
    names = [videos.name(row) for row in range(min(3, len(videos)))]
    faults = list[MediaError]()
    for name in names:
        try:
            source.read(name)
        except MediaError as fault:
            faults.append(fault)
    if len(faults) == len(names):
        raise UserError(
            f"the features of the first {len(names)} videos cannot be used: {faults[0]} "
            f"(--model.feature-channels is {source.channels})"
        )


def _check_candidates(folder: str, task: LocalizationTask) -> None:
    if not folder:
        raise UserError("no candidates: pass --data.proposals, the folder that `kinema prepare candidates` wrote")
    origin = read_origin(Path(folder))
    if origin is None:
        raise UserError(f"'{folder}' holds no candidates: `kinema prepare candidates` writes them")
    if isinstance(task, PEMTask) and origin.options != task.candidates:
        raise UserError(
            f"the candidates of '{folder}' were made with other options ({origin.options}) than --task.candidates says"
        )
