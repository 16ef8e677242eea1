"""The parts of a training run, put together from its config."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from kinema.data.bad_files import BadFiles
from kinema.data.batch import BadFile, Batch
from kinema.data.dataset import VideoDataset
from kinema.data.index import Index
from kinema.data.loader import TrainBatches, load, num_workers
from kinema.data.timetable import Phase, Timetable
from kinema.data.video import reader_in_use
from kinema.data.views import TrainClip
from kinema.errors import UserError
from kinema.inference.evaluation import evaluation_batches
from kinema.inference.model_files import ModelDescription
from kinema.inference.runtime import place
from kinema.models import Recognizer
from kinema.training import multigrid
from kinema.training.checkpoint import Position, Trained, load_checkpoint, save_best, save_checkpoint
from kinema.training.config import Config
from kinema.training.distributed import Process
from kinema.training.optim import make_optimizer
from kinema.training.record import Record
from kinema.training.schedule import CosineSchedule, StepSchedule, StretchSchedule
from kinema.training.setup import empty_model, first_model, open_videos, prepare_work_dir, write_config

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Run:
    """Everything the loop works with."""

    config: Config
    process: Process
    checkpoints: Path
    trained: Trained
    network: nn.Module
    """What is called in training: the model, or DDP around it."""
    batches: DataLoader[Batch]
    """Training batches from `position` on."""
    statistics_batches: DataLoader[Batch]
    """Training batches, always the same, of the clips without multigrid: for batch-norm statistics."""
    val_batches: DataLoader[Batch] | None
    timetable: Timetable
    schedule: StepSchedule | CosineSchedule | StretchSchedule
    """The learning rate over the epochs of `timetable`."""
    bad_files: BadFiles
    record: Record | None
    """None in all processes but the first."""
    position: Position
    description: ModelDescription

    def write(self, part: str, row: dict[str, float]) -> None:
        """Record figures, in the first process."""
        if self.record is not None:
            self.record.write(part, row)

    def validation_is_due(self) -> bool:
        """Whether the model is to be validated at this step, and has not been."""
        epoch, in_epoch = self.timetable.place(self.position.step)
        due = self.position.step == self.timetable.steps or (
            in_epoch == 0 and epoch % self.config.training.val_every == 0
        )
        return self.val_batches is not None and due and self.position.validated < self.position.step

    def save(self) -> None:
        """Write the checkpoint to resume from.

        Raises:
            UserError: it could not be written; the earlier one is kept.
        """
        folder = self.checkpoints / "last"
        self.process.first_does(lambda: save_checkpoint(folder, self.trained, self.position, self.description))

    def save_best(self) -> None:
        """Write the model as the best so far.

        Raises:
            UserError: it could not be written; the earlier one is kept.
        """
        folder = self.checkpoints / "best"
        self.process.first_does(lambda: save_best(folder, self.trained, self.position, self.description))

    def account(self, bad: list[BadFile]) -> None:
        """Take note of bad files, and stop the run when they are too many.

        Raises:
            UserError: more videos are bad than `max_bad_fraction` allows.
        """
        self.bad_files.add(bad)
        self.bad_files.check()

    def close(self) -> None:
        """Write out what is buffered."""
        if self.record is not None:
            self.record.close()


def set_up(config: Config, process: Process, *, work_dir: Path, resume: bool) -> Run:
    """Put a run together, new or as its last checkpoint left it.

    Raises:
        UserError: the data, the model to start from or `work_dir` cannot be used.
    """
    checkpoints, listing = work_dir / "checkpoints", work_dir / "bad_files.csv"
    process.first_does(lambda: prepare_work_dir(work_dir, resume=resume))
    resuming = resume and (checkpoints / "last").exists()
    train_videos, val_videos, classes, config = open_videos(config)
    model = empty_model(config) if resuming else first_model(config, classes, process)
    trained = _trained(place(model, process.device, config.runtime), config, process)
    position = load_checkpoint(checkpoints / "last", trained) if resuming else Position()
    plan = multigrid.plan(config.training.multigrid, config.schedule, config.train_clip)
    timetable_of = partial(
        Timetable, len(train_videos), config.data.batch_size, batches=process.world * config.training.accumulate
    )
    timetable = timetable_of(plan.phases)
    steps_per_epoch = timetable.steps_at(0)
    if position.steps_per_epoch not in (0, steps_per_epoch):
        raise UserError(
            f"{work_dir} was trained in {position.steps_per_epoch} steps an epoch, this would be {steps_per_epoch}: "
            "resume it with the same videos, --data.batch-size, --training.accumulate and number of processes"
        )
    position.steps_per_epoch = steps_per_epoch
    if config.training.precise_bn and val_videos is None:
        raise UserError("--training.precise-bn takes statistics before a validation: it needs --data.val")
    # Loads the decoder's libraries, if it is to be used, before loader workers are forked: they share the memory.
    decoder = reader_in_use(config.data.reader) if config.data.source == "video" else "simplejpeg and Pillow"
    process.first_does(lambda: write_config(config, work_dir / "config.yaml", resuming=resuming))
    if process.is_main:
        log.info("%s: %d videos, %d steps an epoch", config.recipe, len(train_videos), steps_per_epoch)
        log.info("frames are decoded by %s", decoder)
        if resuming:
            log.info("resuming %s after step %d", work_dir, position.step)
    batches = partial(_training_batches, config, train_videos, process)
    usual = timetable_of([Phase(epochs=max(1, config.training.precise_bn))])
    return Run(
        config=config,
        process=process,
        checkpoints=checkpoints,
        trained=trained,
        network=_network(trained.model, process),
        batches=batches(plan.clips, timetable, first_step=position.step),
        statistics_batches=batches([config.train_clip], usual),
        val_batches=_validation_batches(config, val_videos, process) if val_videos is not None else None,
        timetable=timetable,
        schedule=plan.schedule,
        bad_files=BadFiles(
            num_videos=len(train_videos) + len(val_videos or ()),
            max_fraction=config.data.max_bad_fraction,
            listing=listing if process.is_main else None,
        ),
        record=Record(work_dir, from_step=position.step, validated=position.validated) if process.is_main else None,
        position=position,
        description=config.describe(classes),
    )


def _trained(model: Recognizer, config: Config, process: Process) -> Trained:
    options = config.training
    if options.sync_bn and process.world > 1:
        if process.device.type != "cuda":
            raise UserError("--training.sync-bn needs GPUs: torch has no synchronised batch norm for the CPU")
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    total_batch = config.data.batch_size * process.world * options.accumulate
    average = get_ema_multi_avg_fn(options.ema_decay)
    return Trained(
        model=model,
        optimizer=make_optimizer(model, config.optim, total_batch=total_batch),
        scaler=torch.amp.GradScaler(process.device.type, enabled=config.runtime.precision == "fp16"),
        ema=AveragedModel(model, multi_avg_fn=average, use_buffers=True) if options.ema_decay else None,
    )


def _network(model: nn.Module, process: Process) -> nn.Module:
    if process.world == 1:
        return model
    if process.device.type == "cuda":
        return DistributedDataParallel(model, device_ids=[process.device], gradient_as_bucket_view=True)
    # DDP regroups gradients after its first step, unless it looks for unused ones: a resumed run would add those of
    # three processes in another order than the run it continues. On the CPU the same bits are worth the look.
    return DistributedDataParallel(model, gradient_as_bucket_view=True, find_unused_parameters=True)


def _training_batches(
    config: Config,
    videos: Index,
    process: Process,
    clips: Sequence[TrainClip],
    timetable: Timetable,
    first_step: int = 0,
) -> DataLoader[Batch]:
    order = TrainBatches(
        len(videos),
        config.data.batch_size,
        timetable,
        seed=config.training.seed,
        accumulate=config.training.accumulate,
        rank=process.rank,
        world=process.world,
        first_step=first_step,
    )
    dataset = VideoDataset(videos, clips, config.data, seed=config.training.seed)
    workers = num_workers(config.data.workers, process.local_world)
    return load(dataset, order, workers=workers, pin=process.device.type == "cuda")


def _validation_batches(config: Config, videos: Index, process: Process) -> DataLoader[Batch]:
    return evaluation_batches(
        videos,
        config.val_views,
        config.data,
        workers=num_workers(config.data.workers, process.local_world),
        rank=process.rank,
        world=process.world,
        pin=process.device.type == "cuda",
    )
