"""The state of a training run, built from its config."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from kinema.data.bad_files import BadFiles
from kinema.data.samples import BadFile
from kinema.data.timetable import Phase, Timetable
from kinema.errors import UserError
from kinema.runtime.device import RuntimeOptions, compile_blocks, to_device
from kinema.runtime.memory import return_memory
from kinema.runtime.processes import Process
from kinema.training import tuning
from kinema.training.config import AnyConfig
from kinema.training.ddp_warmup import BackwardWarmup
from kinema.training.observers import CriterionObserver, Observer, Observers, PictureObserver
from kinema.training.optimization.averaging import MovingAverage
from kinema.training.optimization.optimizer import make_optimizer
from kinema.training.optimization.schedule import Schedule
from kinema.training.parallel.sharding import copy_full_weights, gather_tensors, is_sharded, shard
from kinema.training.saving.checkpoint import (
    Position,
    TrainState,
    load_checkpoint,
    save_best,
    save_checkpoint,
    snapshot,
)
from kinema.training.saving.record import Record
from kinema.training.saving.work_dir import write_config
from kinema.training.task import HasPreparation, Task
from kinema.weights.model_files import check_same_model

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Run:
    """Everything that the training loop uses."""

    config: AnyConfig
    process: Process
    task: Task
    checkpoints: Path
    state: TrainState
    network: nn.Module
    """The model, possibly sharded, or its DDP wrapper."""
    backward_warmup: BackwardWarmup
    batches: DataLoader[Any]
    """Training batches starting at `position`."""
    statistics_batches: DataLoader[Any]
    """Training batches for precise batch norm, the same at every validation."""
    val_batches: DataLoader[Any] | None
    timetable: Timetable
    bad_files: BadFiles
    record: Record | None
    """None except in the main process."""
    observers: list[Observer]
    """Empty except in the main process."""
    position: Position
    latest: dict[str, float] = field(default_factory=dict)
    """Training row written last."""

    def write_step(self, row: dict[str, float]) -> None:
        """Record and report a training row in the main process."""
        self.latest = row
        if self.record is not None:
            self.record.write("train", row)
        for observer in self.observers:
            observer.on_step(row)

    def write_validation(self, row: dict[str, float]) -> None:
        """Record and report a validation row in the main process."""
        if self.record is not None:
            self.record.write("val", row)
        for observer in self.observers:
            observer.on_validation(row)

    def show_pictures(self, pictures: Mapping[str, Tensor]) -> None:
        """Pass the pictures of a validation to the observers that take them."""
        for observer in self.observers:
            if pictures and isinstance(observer, PictureObserver):
                observer.on_pictures(pictures, step=self.position.step)

    def validation_is_due(self) -> bool:
        """Return whether the model is due for validation at this step and has not been validated."""
        epoch, in_epoch = self.timetable.epoch_step(self.position.step)
        due = self.position.step == self.timetable.steps or (
            in_epoch == 0 and epoch % self.config.training.val_every == 0
        )
        return self.val_batches is not None and due and self.position.validated < self.position.step

    @property
    def stops_early(self) -> bool:
        """Whether as many validations as `training.patience` found no better model."""
        patience = self.config.training.patience
        return bool(patience) and self.position.since_best >= patience

    def outcome(self) -> str:
        """Return how the run ended, for the log."""
        position, criterion = self.position, self.task.criterion
        epoch_of = self.timetable.epoch_step
        best = ""
        if position.best is not None:
            best = f"{criterion.value(position.best):.4f} of epoch {epoch_of(position.best_step)[0]}"
        if not self.stops_early or position.step == self.timetable.steps:
            return f"done, best {criterion.metric} {best}" if best else "done"
        return (
            f"stopped early after epoch {epoch_of(position.step)[0]} of {self.config.schedule.epochs}, as the best "
            f"{criterion.metric}{best and f', {best},'} was not surpassed in {position.since_best} validations "
            "(--training.patience)"
        )

    def save(self) -> None:
        """Save the checkpoint `last`, which training resumes from; see `save_checkpoint`. Collective."""
        folder, contents = self.checkpoints / "last", snapshot(self.state)
        self.process.run_on_main(lambda: save_checkpoint(folder, contents, self.position, self.task.description))

    def save_best(self) -> None:
        """Save the model as `best`; see `kinema.training.saving.checkpoint.save_best`. Collective."""
        folder, weights = self.checkpoints / "best", gather_tensors(self.state.eval_model.state_dict())
        self.process.run_on_main(lambda: save_best(folder, weights, self.position, self.task.description))

    def model_to_validate(self) -> nn.Module:
        """Return the model to validate, unsharded. Collective.

        A sharded model must be called equally often by all processes, whose numbers of validation batches differ.
        """
        if not is_sharded(self.state.eval_model):
            return self.state.eval_model
        model = to_device(self.task.empty_model(), self.process.device, self.config.runtime)
        copy_full_weights(model, self.state.eval_model)
        return model

    def record_bad_files(self, bad: list[BadFile]) -> None:
        """Record bad files, and fail if there are too many.

        Raises:
            UserError: more videos are bad than `max_bad_fraction` allows.
        """
        self.bad_files.add(bad)
        self.bad_files.check()

    def close(self) -> None:
        """Close the observers."""
        for observer in self.observers:
            observer.close()


def set_up(
    config: AnyConfig,
    task: Task,
    process: Process,
    *,
    work_dir: Path,
    resume: bool,
    observers: Observers = (),
    check_stop: Callable[[], None] = lambda: None,
) -> Run:
    """Build a run, new or from its last checkpoint; call `prepare_work_dir` first.

    `check_stop` is called between parts of a long preparation, and raises InterruptedRun if the run is to stop.

    Raises:
        UserError: the data, the initial model or `work_dir` are unusable.
    """
    checkpoints, listing = work_dir / "checkpoints", work_dir / "bad_files.csv"
    resuming = resume and (checkpoints / "last").exists()
    if resuming:
        check_same_model(checkpoints / "last", task.description)
    timetable_of = partial(
        Timetable, task.num_train, config.data.batch_size, batches=process.world * config.training.accumulate
    )
    timetable = timetable_of(task.phases)
    runtime = tuning.decided_before(config.runtime, work_dir / "config.yaml") if resuming else config.runtime
    batches = partial(task.train_batches, timetable, first_step=0)
    config = replace(config, runtime=tuning.decide(runtime, task, process, lambda: next(iter(batches()))))
    model = task.empty_model() if resuming else task.first_model()
    state = _train_state(to_device(model, process.device, config.runtime), config, process)
    position = load_checkpoint(checkpoints / "last", state) if resuming else Position()
    _check_position(position, timetable, config, work_dir)
    position.steps_per_epoch = timetable.steps_per_epoch(0)
    if config.training.precise_bn and not task.num_val:
        raise UserError("--training.precise-bn needs a validation: pass --data.val, or --training.precise-bn 0")
    if config.training.patience and not task.num_val:
        raise UserError("--training.patience needs a validation: pass --data.val, or --training.patience 0")
    if isinstance(task, HasPreparation):
        task.prepare(state.model, check_stop)
    # Load the decoder's libraries before loader workers are forked, which then share their memory.
    reads = task.reads
    process.run_on_main(lambda: write_config(config, work_dir / "config.yaml"))
    if process.is_main:
        log.info("%s: %d videos, %d steps an epoch", config.recipe, task.num_train, position.steps_per_epoch)
        log.info("%s", reads)
        _warn_of_warmup(config.schedule)
        if resuming:
            log.info("resuming %s after step %d", work_dir, position.step)
    usual = timetable_of([Phase(epochs=max(1, config.training.precise_bn))])
    network = _network(state.model, process, config.runtime)
    return Run(
        config=config,
        process=process,
        task=task,
        checkpoints=checkpoints,
        state=state,
        network=network,
        backward_warmup=BackwardWarmup(network),
        batches=task.train_batches(timetable, first_step=position.step),
        statistics_batches=task.statistics_batches(usual),
        val_batches=task.val_batches() if task.num_val else None,
        timetable=timetable,
        bad_files=BadFiles(
            num_videos=task.num_train + task.num_val,
            max_fraction=config.data.max_bad_fraction,
            listing=listing if process.is_main else None,
        ),
        record=Record(work_dir, from_step=position.step, validated=position.validated) if process.is_main else None,
        observers=_opened(observers, task, work_dir, position) if process.is_main else [],
        position=position,
    )


def _opened(observers: Observers, task: Task, work_dir: Path, position: Position) -> list[Observer]:
    opened = [opener(work_dir, first_step=position.step) for opener in observers]
    for observer in opened:
        if isinstance(observer, CriterionObserver):
            observer.on_criterion(task.criterion.metric, lower=task.criterion.lower)
    return opened


def _check_position(position: Position, timetable: Timetable, config: AnyConfig, work_dir: Path) -> None:
    """Check that a resumed run has the steps and the length that its checkpoint began with.

    Raises:
        UserError: it has other steps per epoch, or ends before the checkpoint.
    """
    steps_per_epoch = timetable.steps_per_epoch(0)
    if position.steps_per_epoch not in (0, steps_per_epoch):
        raise UserError(
            f"{work_dir} was trained in {position.steps_per_epoch} steps an epoch, this would be {steps_per_epoch}: "
            "resume it with the same videos, --data.batch-size, --training.accumulate and number of processes"
        )
    if position.step > timetable.steps:
        raise UserError(
            f"{work_dir} has trained for {position.step / steps_per_epoch:.3g} epochs already: "
            f"pass --schedule.epochs of at least that, not {config.schedule.epochs}"
        )


def _warn_of_warmup(schedule: Schedule) -> None:
    """Warn if the warm-up is longer than the training, and thus shortened."""
    if schedule.warmup != schedule.warmup_epochs:
        log.warning(
            "--schedule.warmup-epochs %g is shortened to %g: the training has %d epochs",
            schedule.warmup_epochs,
            schedule.warmup,
            schedule.epochs,
        )


def _train_state(model: nn.Module, config: AnyConfig, process: Process) -> TrainState:
    options = config.training
    if options.sync_bn and process.world > 1:
        if process.device.type != "cuda":
            raise UserError("--training.sync-bn needs GPUs: torch has no synchronized batch norm for the CPU")
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
    if config.runtime.compile == "graphs" and options.accumulate > 1:  # in the graph's static memory
        raise UserError(
            "--runtime.compile graphs cannot accumulate gradients: set --training.accumulate 1, or compile true"
        )
    ema = MovingAverage(model, options.ema_decay) if options.ema_decay else None
    if options.fully_shard and process.world > 1:
        if config.runtime.precision == "fp16":
            raise UserError("--training.fully-shard with --runtime.precision fp16 is not supported; bf16 and fp32 are")
        if process.device.type == "cpu" and config.runtime.kernels:
            return_memory()
        mesh = init_device_mesh(process.device.type, (process.world,))
        for each in (model, ema.module) if ema is not None else (model,):
            shard(each, mesh)
    total_batch = config.data.batch_size * process.world * options.accumulate
    return TrainState(
        model=model,
        optimizer=make_optimizer(model, config.optim, total_batch=total_batch),
        scaler=torch.amp.GradScaler(process.device.type, enabled=config.runtime.precision == "fp16"),
        ema=ema,
    )


def _network(model: nn.Module, process: Process, runtime: RuntimeOptions) -> nn.Module:
    if runtime.compile:
        compile_blocks(model, runtime)
    if process.world == 1 or is_sharded(model):
        return model
    return data_parallel(model, process.device)


def data_parallel(model: nn.Module, device: torch.device) -> DistributedDataParallel:
    """Return the DDP wrapper of a model, whose gradients are averaged over the processes.

    No broadcast of buffers in each step: training does not read running statistics except frozen ones, and validation
    broadcasts the main process's, which are also those saved.
    """
    parameters = signature(DistributedDataParallel).parameters
    not_sent = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"  # before 2.14
    options: dict[str, Any] = {not_sent: False, "gradient_as_bucket_view": True}
    if device.type == "cuda":
        options["device_ids"] = [device]
    return DistributedDataParallel(model, **options)
