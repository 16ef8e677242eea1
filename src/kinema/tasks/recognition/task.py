"""Training of recognizers."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from kinema.data.dataset import ClipDataset, open_train_index, open_val_index
from kinema.data.lists.annotations import check_labels
from kinema.data.lists.index import Index
from kinema.data.loader import TrainBatches
from kinema.data.readers.sources import describe_reader
from kinema.data.samples import Batch
from kinema.data.timetable import Phase, Timetable
from kinema.data.views import TrainClip
from kinema.errors import UserError
from kinema.models import Recognizer, RecognizerOptions, load_pretrained
from kinema.models.capabilities import HasHead, PretrainsBackbone, require
from kinema.runtime.processes import Process
from kinema.tasks.models import read_description
from kinema.tasks.recognition import multigrid
from kinema.tasks.recognition.description import read_recognizer
from kinema.tasks.recognition.evaluation.evaluate import evaluate, evaluation_batches
from kinema.tasks.recognition.imbalance import check_balancing, class_weights
from kinema.tasks.recognition.losses import training_loss
from kinema.tasks.recognition.scoring import as_clips
from kinema.tasks.recognition.settings import RecognitionConfig, RecognizerDescription, metric_names
from kinema.tasks.recognition.splits import (
    check_told_apart,
    label_advice,
    warn_of_labels,
    warn_of_mirrors,
    warn_of_overlap,
    with_flip_pairs,
)
from kinema.training.optimization.schedule import CosineSchedule, StepSchedule, StretchSchedule
from kinema.training.order import load_batches, train_order
from kinema.training.task import Criterion, Loss, Validation
from kinema.weights.find import find_model
from kinema.weights.foreign_files import read_foreign_weights
from kinema.weights.model_files import check_same_weights, read_weights, warn_of_other_options

log = logging.getLogger(__name__)

BACKBONE = "backbone."
"""Prefix of the weights that pre-training and fine-tuning share."""


@dataclass(frozen=True, kw_only=True)
class RecognitionTask:
    """Training of a recognizer; see `kinema.training.task.Task`."""

    config: RecognitionConfig[Any]
    """Config with the number of classes of the data."""
    process: Process
    train: Index
    val: Index | None
    classes: tuple[str, ...]
    plan: multigrid.Plan
    class_weights: Tensor | None = None
    """Weights of the classes in the training loss, (classes,) on the device."""

    @property
    def description(self) -> RecognizerDescription:
        """Contents of the checkpoints' `model.json`."""
        return self.config.describe(self.classes)

    @property
    def num_train(self) -> int:
        """Number of training videos."""
        return len(self.train)

    @property
    def num_val(self) -> int:
        """Number of validation videos; 0 without validation."""
        return len(self.val or ())

    @property
    def phases(self) -> Sequence[Phase]:
        """Phases of epochs with the same batch shapes."""
        return self.plan.phases

    @property
    def schedule(self) -> StepSchedule | CosineSchedule | StretchSchedule:
        """Learning-rate schedule over these epochs."""
        return self.plan.schedule

    @property
    def reads(self) -> str:
        """Reader of the data, for the log. Loads the decoder's libraries before loader workers are forked."""
        return describe_reader(self.config.data.source, self.config.data.reader)

    def empty_model(self) -> Recognizer:
        """Return the model with random weights, determined by the seed."""
        torch.manual_seed(self.config.training.seed)
        return self.config.model.build()

    def first_model(self) -> Recognizer:
        """Return the model with the initial weights: those of `training.init`, pretrained or random ones."""
        model = self.empty_model()
        if self.config.training.init:
            _load_init(model, self.config.model, self.classes, Path(self.config.training.init))
        elif getattr(self.config.model, "pretrained", "none") != "none":
            # Download once; the other processes then read the file.
            self.process.run_on_main(lambda: load_pretrained(model, self.config.model, read_foreign_weights))
            if not self.process.is_main:
                load_pretrained(model, self.config.model, read_foreign_weights)
        elif not all(parameter.requires_grad for parameter in model.parameters()):
            log.warning("the frozen layers keep random weights: pass --init, a model whose weights they get")
        return model

    def train_batches(self, timetable: Timetable, *, first_step: int) -> DataLoader[Batch[Tensor]]:
        """Return this process's training batches, starting at step `first_step`."""
        return self._batches(self.plan.clips, timetable, first_step)

    def statistics_batches(self, timetable: Timetable) -> DataLoader[Batch[Tensor]]:
        """Return training batches for precise batch norm, the same in every call, without multigrid."""
        return self._batches([self.config.data.train_clip], timetable, 0)

    def _batches(self, clips: Sequence[TrainClip], timetable: Timetable, first_step: int) -> DataLoader[Batch[Tensor]]:
        data, seed = self.config.data, self.config.training.seed
        order = self._order(timetable, first_step)
        return load_batches(ClipDataset(self.train, clips, data, seed=seed), order, data.workers, self.process)

    def _order(self, timetable: Timetable, first_step: int) -> TrainBatches:
        """Return this process's order of the training videos."""
        labels = self.train.labels.numpy().astype(np.int64) if self.config.data.balanced else None
        return train_order(self.config, self.num_train, timetable, self.process, first_step=first_step, labels=labels)

    def val_batches(self) -> DataLoader[Batch[Tensor]]:
        """Return this process's validation batches."""
        assert self.val is not None
        return evaluation_batches(self.val, self.config.data.val_views, self.config.data, self.process)

    def inputs(self, batch: Batch[Tensor]) -> Tensor:
        """Return the model's input in a batch."""
        return as_clips(batch.inputs)

    def loss(self, network: nn.Module, batch: Batch[Tensor]) -> Loss:
        """Return the loss of a batch and its top-1 accuracy."""
        loss, right = training_loss(network, batch, self.config.task, self.class_weights)
        return Loss(loss, {"top1": right / (len(batch) * batch.inputs.shape[1])})

    def validate(self, model: nn.Module, batches: DataLoader[Batch[Tensor]]) -> Validation:
        """Evaluate the model on `val_batches`, leaving it in eval mode."""
        evaluation = evaluate(
            model,
            batches,
            num_classes=len(self.classes),
            task=self.config.task,
            runtime=self.config.runtime,
            process=self.process,
        )
        return Validation(evaluation.metrics, evaluation.bad)

    @property
    def criterion(self) -> Criterion:
        """Metric of `validate` that selects the best model."""
        task = self.config.task
        metric = metric_names(task.labels)[0] if task.best_by == "auto" else task.best_by
        return Criterion(metric, lower=metric == "loss")

    def summary(self, metrics: Mapping[str, float]) -> str:
        """Return the main metrics as text, for the log."""
        if self.config.task.labels == "multi":
            return f"loss {metrics['loss']:.4f}, mAP {metrics['mAP']:.4f}, top-1 {metrics['top1']:.4f}"
        return f"loss {metrics['loss']:.4f}, top-1 {metrics['top1']:.4f}, mean class {metrics['mean_class']:.4f}"


def open_recognition(config: RecognitionConfig[Any], process: Process) -> RecognitionTask:
    """Open the videos of a training, and set the model's classes to theirs.

    Where the data name their classes, these are the model's. Where labels are bare numbers, the model has as many
    classes as its recipe says, and every label must be one of them; a warning says when not all of them occur.

    Raises:
        UserError: the annotations are faulty, a label or a flip pair is out of range, or all videos have one label.
    """
    if config.data.val and (config.data.folds or config.data.val_fraction):
        raise UserError(
            "--data.val gives the validation videos, which --data.folds and --data.val-fraction take from the training "
            "videos: pass one of them"
        )
    train = open_train_index(config.data, labels=config.task.labels)
    classes = train.class_names or tuple(map(str, range(config.model.num_classes)))
    least = 2 if config.task.labels == "single" else 1
    if train.class_names is None and len(classes) < least:
        raise UserError(f"--model.num-classes {config.model.num_classes}: expected at least {least}")
    check_labels(train, len(classes), advice=label_advice(train, len(classes)))
    check_told_apart(train, classes)
    config = _of_classes(config, classes)
    validated = bool(config.data.val or config.data.divides)
    if not validated:
        log.warning("no --data.val: nothing is validated, and `best` is not written")
    val = _open_val(config, train, len(classes)) if validated else None
    warn_of_labels(train, val, classes)
    warn_of_mirrors(config.data.train_clip.crop, classes)
    if val is not None:
        warn_of_overlap(train, val)
    check_balancing(config)
    weights = class_weights(config.task.class_weights, train, classes)
    return RecognitionTask(
        config=config,
        process=process,
        train=train,
        val=val,
        classes=classes,
        plan=multigrid.plan(config.task.multigrid, config.schedule, config.data.train_clip),
        class_weights=None if weights is None else torch.from_numpy(weights).to(process.device),
    )


def _of_classes(config: RecognitionConfig[Any], classes: tuple[str, ...]) -> RecognitionConfig[Any]:
    """Return the config with the model's classes set to `classes`, and flip pairs as their indices."""
    if len(classes) != config.model.num_classes:
        log.info("%d classes, as the data name them (the recipe has %d)", len(classes), config.model.num_classes)
    clip = config.data.train_clip
    data = replace(config.data, train_clip=replace(clip, crop=with_flip_pairs(clip.crop, classes)))
    return replace(config, model=replace(config.model, num_classes=len(classes)), data=data)


_MORE_CLASSES = "no training video has another class: pass --data.classes FILE with the names of all classes"


def _open_val(config: RecognitionConfig[Any], train: Index, num_classes: int) -> Index:
    advice = "" if config.data.classes else _MORE_CLASSES
    val = open_val_index(config.data, train.class_names, labels=config.task.labels, advice=advice)
    if train.class_names is None and val.class_names is not None:
        raise UserError(
            "the validation videos have class names, the training videos bare numbers: pass --data.classes FILE with "
            "the names of the classes in the order of the numbers"
        )
    check_labels(val, num_classes, advice=label_advice(val, num_classes))
    return val


def _load_init(model: Recognizer, options: RecognizerOptions, classes: tuple[str, ...], init: Path) -> None:
    """Load the weights of `init`: all of them where it has the same classes, else without its head; of a pre-trained
    model those of its backbone.
    """
    folder = find_model(init)
    weights, wanted = read_weights(folder), model.state_dict()
    theirs = read_description(folder)
    if isinstance(theirs.model, PretrainsBackbone):
        weights = {name: value for name, value in weights.items() if name.startswith(BACKBONE)}
        weights |= {name: value for name, value in wanted.items() if not name.startswith(BACKBONE)}
        log.info("the backbone of %s, which is pre-trained; neck and head are new", init)
    else:
        theirs = read_recognizer(folder)
        if theirs.classes != classes:
            head = require(model, HasHead, "--init with other classes").head
            of_head = {id(parameter) for parameter in head.parameters()}
            weights |= {name: wanted[name] for name, parameter in model.named_parameters() if id(parameter) in of_head}
            log.info("new head for %d classes: %s has %d other classes", len(classes), init, len(theirs.classes))
        warn_of_other_options(str(init), theirs.model, options)
    check_same_weights(wanted, weights, origin=str(init))
    model.load_state_dict(weights)
