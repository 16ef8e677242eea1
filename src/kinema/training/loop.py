"""The training loop."""

import logging
import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kinema.console import progress
from kinema.data.samples import BadFile
from kinema.errors import StorageOutage, UserError
from kinema.runtime.device import autocast, uncompiled
from kinema.runtime.processes import outage_shared, process_group
from kinema.training.batch_norm import recompute_batch_norm
from kinema.training.config import AnyConfig
from kinema.training.observers import Observers
from kinema.training.optimization.optimizer import set_lr
from kinema.training.optimization.schedule import lr_factor
from kinema.training.out_of_memory import explained, explained_validation
from kinema.training.parallel.distributed import (
    InterruptedRun,
    StopRequest,
    broadcast_buffers,
    next_batch,
    raise_if_stop_requested,
    same_number,
    synchronize,
)
from kinema.training.run import Run, set_up
from kinema.training.saving.record import read_rows
from kinema.training.saving.work_dir import create_work_dir, prepare_work_dir
from kinema.training.task import Loss
from kinema.training.window import Window

log = logging.getLogger(__name__)


def train_network(
    config: AnyConfig, *, work_dir: Path, resume: bool = False, observers: Observers = ()
) -> dict[str, float]:
    """Train one network; see `kinema.training.train`."""
    with process_group(config.runtime, wait=config.data.patience) as process, StopRequest().listening() as stop:
        process.run_on_main(lambda: create_work_dir(work_dir))
        process.run_on_main(lambda: prepare_work_dir(work_dir, config, resume=resume))
        with outage_shared():
            task = config.task.open(config, process)
        run = set_up(
            config, task, process, work_dir=work_dir, resume=resume, observers=observers,
            check_stop=lambda: raise_if_stop_requested(stop),
        )  # fmt: skip
        try:
            metrics = _loop(run, stop)
        except StorageOutage as outage:
            after = f"stopped after step {run.position.step}; the same command with --resume continues"
            raise InterruptedRun(f"{outage}; {after}", exit_code=stop.exit_code) from outage
        finally:
            run.close()
        if process.is_main:
            log.info("%s: everything is in %s", run.outcome(), work_dir)
        rows = read_rows(work_dir / "metrics.jsonl", "val")
        return metrics or (_metrics(rows[-1]) if rows else {})


def _metrics(row: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in ("step", "epoch")}


def _loop(run: Run, stop: StopRequest) -> dict[str, float]:
    options, first, timetable = run.config.training, run.position.step, run.timetable
    batches = iter(run.batches)
    window = Window(run.process.device, batches_per_step=options.accumulate)
    metrics: dict[str, float] = {}
    if run.validation_is_due():  # the run was killed after saving an epoch, before validating it
        metrics = _validate(run)
        run.save()
    run.network.train()
    with progress("training", timetable.steps, done=first, show=run.process.is_main) as meter:
        for step in range(first + 1, timetable.steps + 1):
            if run.stops_early:
                break
            try:
                lr, stopping = train_step(run, batches, step, window, stop)
            except StorageOutage:
                _save_steps(run, window, since=first)
                raise
            all_done = step == timetable.steps
            due = options.checkpoint_every and step % options.checkpoint_every == 0
            saving = timetable.epoch_step(step)[1] == 0 or due or stopping
            figures = ""
            if step % options.log_every == 0 or saving:  # rows end at checkpoints: a resumed run writes the same ones
                row = {"step": step, "epoch": timetable.epochs_done(step), "lr": lr, **window.close()}
                run.write_step(row)
                figures = _figures(row, run.config.schedule.epochs)
            meter.advance(figures=figures)

            pause = time.perf_counter()
            if saving:
                run.save()
            if stopping and not all_done:
                raise InterruptedRun(
                    f"stopped as asked after step {step}; the same command with --resume continues",
                    exit_code=stop.exit_code,
                )
            if run.validation_is_due():
                metrics = _validate(run)
                run.save()
            window.exclude_since(pause)
    return metrics


def _save_steps(run: Run, window: Window, *, since: int) -> None:
    """Save the steps taken after step `since`, when the run cannot continue."""
    step = run.position.step
    if step == since:
        return
    if window.batches:
        lr = set_lr(run.state.optimizer, lr_factor(run.task.schedule, run.timetable.epochs_done(step - 1)))
        run.write_step({"step": step, "epoch": run.timetable.epochs_done(step), "lr": lr, **window.close()})
    run.save()


def train_step(run: Run, batches: Iterator[Any], step: int, window: Window, stop: StopRequest) -> tuple[float, bool]:
    """Take one training step; return the learning rate, and whether any process received a stop request.

    Raises:
        UserError: there are more bad videos than the options allow.
        StorageOutage: storage does not respond; the run is in its state before the step.
    """
    lr = set_lr(run.state.optimizer, lr_factor(run.task.schedule, run.timetable.epochs_done(step - 1)))
    stopping, bad = synchronize(stop.received, _optimizer_step(run, batches, step, window, stop))
    run.record_bad_files(bad)
    run.position.step = step
    return lr, stopping


def _figures(row: dict[str, float], epochs: int) -> str:
    own = [name for name in row if name not in ("step", "epoch", "lr", "step_time", "data_time", "memory_gib")]
    return (
        f"epoch {row['epoch']:.1f}/{epochs} {' '.join(f'{name} {row[name]:.3f}' for name in own)} "
        f"{row['step_time']:.3f} s/iter, of that {row['data_time']:.3f} for data"
    )


def _optimizer_step(run: Run, batches: Iterator[Any], step: int, window: Window, stop: StopRequest) -> list[BadFile]:
    """Take an optimizer step over `accumulate` batches; return their bad files."""
    state = run.state
    # Reseeding at every step makes dropout independent of earlier steps: checkpoints need no generator state.
    _seed_torch(_seed(run.config.training.seed, step, run.process.rank), run.process.device)
    with _restore_on_outage(run, window):
        bad = _accumulate_gradients(run, batches, window, stop)
    if run.config.optim.clip_norm:
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.model.parameters(), run.config.optim.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    if state.ema is not None:
        state.ema.update(state.model)
    return bad


def _accumulate_gradients(run: Run, batches: Iterator[Any], window: Window, stop: StopRequest) -> list[BadFile]:
    """Accumulate the gradients of `accumulate` batches; return their bad files."""
    process, accumulate = run.process, run.config.training.accumulate
    bad: list[BadFile] = []
    for turn in range(accumulate):
        asked = time.perf_counter()
        batch = next_batch(batches, stop)
        window.add_wait(asked)
        bad.extend(batch.bad)
        if not len(batch):
            run.record_bad_files(bad)
            raise UserError(f"no video of a batch could be read; the last was {bad[-1].path}: {bad[-1].reason}")
        with explained(run, batch):
            loss = _add_gradients(run, batch.to(process.device), last=turn == accumulate - 1)
        window.add(loss)
    return bad


def _add_gradients(run: Run, batch: Any, *, last: bool) -> Loss:
    """Add a batch's share to the gradients, which are averaged over the processes after the `last` batch of a step."""
    if run.config.runtime.compile == "graphs":  # outputs of the previous batch may be overwritten
        torch.compiler.cudagraph_mark_step_begin()
    run.backward_warmup.run_once(run.network, partial(_loss, run, batch))
    with _gradient_sync(run.network, last):
        loss = _loss(run, batch)
        run.state.scaler.scale(loss.total / run.config.training.accumulate).backward()
    return loss


def _loss(run: Run, batch: Any) -> Loss:
    with autocast(run.process.device, run.config.runtime):
        return run.task.loss(run.network, batch)


@contextmanager
def _restore_on_outage(run: Run, window: Window) -> Iterator[None]:
    """Restore the run if storage fails between the batches of a step."""
    began, mark = time.perf_counter(), window.state()
    buffers = list(run.state.model.buffers())
    # With a single batch, nothing has been computed when loading it fails.
    kept = [buffer.clone() for buffer in buffers] if run.config.training.accumulate > 1 else []
    try:
        yield
    except StorageOutage:
        for buffer, before in zip(buffers, kept, strict=bool(kept)):
            buffer.copy_(before)
        window.restore(mark)
        window.exclude_since(began)
        raise


def _gradient_sync(network: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Average DDP's gradients over the processes only in the backward pass of a step's last batch."""
    return nullcontext() if last or not isinstance(network, DistributedDataParallel) else network.no_sync()


def _seed(seed: int, step: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0])


def _seed_torch(seed: int, device: torch.device) -> None:
    """Seed torch's generator of the device, and that of the CPU.

    For the CPU not by `torch.manual_seed`, which formats a stack trace for each kind of GPU that is not used.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def _recompute_batch_norm(run: Run) -> None:
    """Recompute batch-norm statistics from `precise_bn` batches, always the same: a resumed run repeats them."""
    count, device = run.config.training.precise_bn, run.process.device
    if count:
        with autocast(device, run.config.runtime):
            batches = iter(run.statistics_batches)
            taken = (next_batch(batches).to(device) for _ in range(count))
            recompute_batch_norm(run.state.eval_model, map(run.task.inputs, taken))


def _validate(run: Run) -> dict[str, float]:
    """Validate the model, or its moving average, and save it as `best` if its score is the highest so far.

    If the score is undefined, `best` is the model validated last.
    """
    assert run.val_batches is not None
    _recompute_batch_norm(run)
    broadcast_buffers(run.state.eval_model)
    # Validation batches have other shapes: not worth recompiling.
    with explained_validation(run), uncompiled(run.config.runtime):
        validation = run.task.validate(run.model_to_validate(), run.val_batches)
    run.state.eval_model.train()
    run.record_bad_files(validation.bad)
    epoch = run.timetable.epoch_step(run.position.step)[0]
    run.write_validation({"step": run.position.step, "epoch": epoch, **validation.metrics})
    run.show_pictures(validation.pictures)
    run.position.validated = run.position.step
    improved = _select(run, same_number(run.task.criterion.score(validation.metrics), run.process.device))
    log.info("%s", _epoch_row(run, epoch, validation.metrics, improved))
    return validation.metrics


def _epoch_row(run: Run, epoch: int, metrics: dict[str, float], improved: bool) -> str:
    """Return what the log says of an epoch, in columns: its last training row, its validation, whether it is best."""
    epochs, row = run.config.schedule.epochs, run.latest
    cells = [f"epoch {epoch:{len(str(epochs))}}/{epochs}"]
    if "loss" in row:
        cells.append(f"train loss {row['loss']:.4f}, lr {row['lr']:.2e}, {row['step_time']:.3f} s/iter")
    cells.append(f"val {run.task.summary(metrics)}")
    return "  ".join([*cells, *["best"] * improved])


def _select(run: Run, score: float) -> bool:
    """Save the model as `best` if its score is; return whether it is."""
    position = run.position
    improved = not math.isnan(score) and (position.best is None or score > position.best)
    position.since_best = 0 if improved else position.since_best + 1
    if position.best is None or improved:
        position.best, position.best_step = (score if improved else None), position.step
        # Before `last`, which stores the best score: killed in between, a resumed run writes both again.
        run.save_best()
    return improved
