"""Pre-training of a video transformer."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from kinema.data.dataset import ClipDataset, open_train_index, open_val_index
from kinema.data.lists.index import Index
from kinema.data.readers.sources import describe_reader
from kinema.data.samples import Batch
from kinema.data.timetable import Phase, Timetable
from kinema.errors import UserError
from kinema.models.videomae_pretraining import VideoMAEPretraining
from kinema.runtime.processes import Process
from kinema.tasks.models import read_description
from kinema.tasks.pretraining.data import PretrainingConfig, PretrainingDescription
from kinema.tasks.pretraining.evaluation import evaluate, view_batches
from kinema.tasks.pretraining.masking import Masking, MaskOptions, mask_loss
from kinema.training.optimization.schedule import CosineSchedule, StepSchedule
from kinema.training.order import load_batches, train_order
from kinema.training.task import Criterion, Loss, Validation
from kinema.weights.find import find_model
from kinema.weights.model_files import check_same_weights, read_weights, warn_of_other_options

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PretrainingTask:
    """Pre-training on unlabeled videos; see `kinema.training.task.Task`."""

    config: PretrainingConfig
    process: Process
    train: Index
    val: Index | None
    masking: Masking

    @property
    def description(self) -> PretrainingDescription:
        """Contents of the checkpoints' `model.json`."""
        return self.config.describe()

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
        """All epochs have the same batch shape."""
        return [Phase(epochs=self.config.schedule.epochs)]

    @property
    def schedule(self) -> StepSchedule | CosineSchedule:
        """Learning-rate schedule."""
        return self.config.schedule

    @property
    def reads(self) -> str:
        """Reader of the data, for the log. Loads the decoder's libraries before loader workers are forked."""
        return describe_reader(self.config.data.source, self.config.data.reader)

    def empty_model(self) -> VideoMAEPretraining:
        """Return the model with random weights, determined by the seed."""
        torch.manual_seed(self.config.training.seed)
        return self.config.model.build()

    def first_model(self) -> VideoMAEPretraining:
        """Return the model with random weights, or those of `training.init`, which continues its pre-training."""
        model, init = self.empty_model(), self.config.training.init
        if init:
            folder = find_model(Path(init))
            theirs = read_description(folder, task=MaskOptions, expected="pre-trained model; pass one")
            weights = read_weights(folder)
            check_same_weights(model.state_dict(), weights, origin=init)
            warn_of_other_options(init, theirs.model, self.config.model)
            model.load_state_dict(weights)
        return model

    def train_batches(self, timetable: Timetable, *, first_step: int) -> DataLoader[Batch[Tensor]]:
        """Return this process's training batches, starting at step `first_step`."""
        data, seed = self.config.data, self.config.training.seed
        order = train_order(self.config, self.num_train, timetable, self.process, first_step=first_step)
        dataset = ClipDataset(self.train, [data.train_clip], data, seed=seed)
        return load_batches(dataset, order, data.workers, self.process)

    def statistics_batches(self, timetable: Timetable) -> DataLoader[Batch[Tensor]]:
        """Return training batches for precise batch norm, of which transformers have none."""
        return self.train_batches(timetable, first_step=0)

    def val_batches(self) -> DataLoader[Batch[Tensor]]:
        """Return this process's validation batches."""
        assert self.val is not None
        return view_batches(self.val, self.config.data, self.process)

    def inputs(self, batch: Batch[Tensor]) -> Tensor:
        """Return the clips of a batch, (N, C, T, H, W)."""
        clips: Tensor = batch.inputs
        return clips.flatten(0, 1).transpose(1, 2)

    def loss(self, network: nn.Module, batch: Batch[Tensor]) -> Loss:
        """Return the mean squared error of the hidden tokens' pixels, under masks from torch's global generator."""
        clips = self.inputs(batch)
        masks = self.masking.draw([None] * len(clips)).to(clips.device)
        model = network.module if isinstance(network, DistributedDataParallel) else network
        assert isinstance(model, VideoMAEPretraining)
        targets = model.targets(clips, masks.decoded, normalize=self.config.task.normalize_targets)
        total, count = mask_loss(network(clips, masks.visible, masks.decoded), targets, masks.counted)
        return Loss(total / count, {})

    def validate(self, model: nn.Module, batches: DataLoader[Batch[Tensor]]) -> Validation:
        """Evaluate the model on `val_batches`, leaving it in eval mode."""
        assert isinstance(model, VideoMAEPretraining)
        return evaluate(
            model, batches, self.masking, self.config.task, runtime=self.config.runtime, process=self.process
        )

    @property
    def criterion(self) -> Criterion:
        """Metric of `validate` that selects the best model."""
        return Criterion("loss", lower=True)

    def summary(self, metrics: Mapping[str, float]) -> str:
        """Return the main metrics as text, for the log."""
        return f"loss {metrics['loss']:.4f}"


def open_pretraining(config: PretrainingConfig, process: Process) -> PretrainingTask:
    """Open the videos of a training.

    Raises:
        UserError: lists are faulty, options concern labels, the network does not take the clips, or the masks do not
            fit them.
    """
    data = config.data
    for option, given in (("folds", data.folds), ("balanced", data.balanced), ("classes", data.classes)):
        if given:
            raise UserError(f"--data.{option} concerns labels, which pre-training does not read: leave it out")
    model, shape = config.model, config.data.train_clip.shape
    if shape[1:] != (model.frames, model.size, model.size):
        raise UserError(
            f"clips of {shape[1]} frames of {shape[2]}×{shape[3]} px, but the model takes {model.frames} of "
            f"{model.size}×{model.size}: change --model.frames and --model.size, or the clips' sampling and crop"
        )
    train = open_train_index(config.data, labels="none")
    validated = bool(config.data.val or config.data.divides)
    if not validated:
        log.warning("no --data.val: nothing is validated, and `best` is not written")
    val = open_val_index(config.data, None, labels="none") if validated else None
    with torch.device("meta"):
        masking = config.task.masking(model.build().grid)
    return PretrainingTask(config=config, process=process, train=train, val=val, masking=masking)
