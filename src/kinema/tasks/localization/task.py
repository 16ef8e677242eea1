"""Training of localizers."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kinema.data.samples import Batch
from kinema.data.timetable import Phase, Timetable
from kinema.errors import UserError, did_you_mean
from kinema.runtime.processes import Process
from kinema.tasks.localization.data.features import OpenSplit
from kinema.tasks.localization.description import read_localizer
from kinema.tasks.localization.evaluation import evaluate_localizer
from kinema.tasks.localization.options import LocalizationConfig, LocalizerDescription, LocalizerOptions
from kinema.training.optimization.schedule import CosineSchedule, StepSchedule
from kinema.training.order import train_order
from kinema.training.task import Criterion, Loss, Validation
from kinema.weights.find import find_model
from kinema.weights.model_files import check_same_weights, read_weights, warn_of_other_options

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LocalizerTask:
    """Training of a localizer; see `kinema.training.task.Task`."""

    config: LocalizationConfig[LocalizerOptions]
    process: Process
    train: OpenSplit
    val: OpenSplit | None

    @property
    def description(self) -> LocalizerDescription:
        """Contents of the checkpoints' `model.json`."""
        return self.config.describe(self.train.classes)

    @property
    def num_train(self) -> int:
        """Videos of an epoch, or windows."""
        return len(self.train.inputs)

    @property
    def num_val(self) -> int:
        """Videos of a validation, or windows; 0: there is none."""
        return 0 if self.val is None else len(self.val.inputs)

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
        return self.config.data.reads

    def empty_model(self) -> nn.Module:
        """The model with random weights, the same ones for the same seed."""
        torch.manual_seed(self.config.training.seed)
        return self.config.model.build()

    def first_model(self) -> nn.Module:
        """Return the model with the weights of `training.init`, which must be a localizer's, or random ones."""
        model = self.empty_model()
        if self.config.training.init:
            folder = find_model(self.config.training.init)
            theirs = read_localizer(folder)
            weights = read_weights(folder)
            check_same_weights(model.state_dict(), weights, origin=self.config.training.init)
            warn_of_other_options(self.config.training.init, theirs.model, self.config.model)
            model.load_state_dict(weights)
        return model

    def train_batches(self, timetable: Timetable, *, first_step: int) -> DataLoader[Batch[Any]]:
        """This process's training batches from a step on."""
        config = self.config
        order = train_order(config, self.num_train, timetable, self.process, first_step=first_step)
        return self.train.train_batches(order, config.task.labels, self.process, seed=config.training.seed)

    def statistics_batches(self, timetable: Timetable) -> DataLoader[Batch[Any]]:
        """The same from the start on."""
        return self.train_batches(timetable, first_step=0)

    def val_batches(self) -> DataLoader[Batch[Any]]:
        """This process's part of the validation videos."""
        assert self.val is not None
        return self.val.eval_batches(self.config.task.labels, self.process)

    def inputs(self, batch: Batch[Any]) -> Tensor:
        """What the model takes of a batch; of features and mask the features, which it takes alone, too."""
        features: Tensor = batch.inputs[0] if isinstance(batch.inputs, tuple) else batch.inputs
        return features

    def loss(self, network: nn.Module, batch: Batch[Any]) -> Loss:
        """The loss of a batch, and its parts."""
        return self.config.task.training_loss(network, batch)

    def validate(self, model: nn.Module, batches: DataLoader[Batch[Any]]) -> Validation:
        """Measure the model's proposals on `val_batches`. Leaves it in eval mode."""
        assert self.val is not None
        found = evaluate_localizer(
            model,
            batches,
            split=self.val,
            task=self.config.task,
            runtime=self.config.runtime,
            process=self.process,
        )
        return Validation(found.metrics, found.bad)

    @property
    def criterion(self) -> Criterion:
        """Metric of `validate` that selects the best model."""
        task = self.config.task
        metric = task.metric_names(self.val or self.train)[0] if task.best_by == "auto" else task.best_by
        return Criterion(metric, lower=metric == "loss")

    def summary(self, metrics: Mapping[str, float]) -> str:
        """The metrics that people look for, in a few words."""
        return self.config.task.summary(metrics)


def open_localization(config: LocalizationConfig[Any], process: Process) -> LocalizerTask:
    """Open the videos of a localizer's training, and their features or candidates.

    Raises:
        UserError: the ground truth or the features are faulty, or options contradict each other.
    """
    data, training = config.data, config.training
    if not data.ground_truth:
        raise UserError("no videos: pass --data.ground-truth, a JSON file in ActivityNet's format")
    if training.precise_bn:
        raise UserError("--training.precise-bn is for recognizers")
    splits = data.splits()
    if not data.val_subset:
        log.warning("no --data.val-subset: nothing is validated, and `best` is not written")
    config.task.check(config)
    train, *val = data.open(splits, config.model, config.task, ())
    names, best_by = config.task.metric_names(val[0] if val else train), config.task.best_by
    if best_by not in ("auto", *names):
        raise UserError(f"--task.best-by {best_by}: expected auto, {', '.join(names)}{did_you_mean(best_by, names)}")
    return LocalizerTask(config=config, process=process, train=train, val=val[0] if val else None)
