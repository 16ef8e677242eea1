"""`kinema benchmark train`: timing of the training that `kinema train` runs."""

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import torch.distributed as dist

from kinema.benchmark.inputs.memcached import serving
from kinema.benchmark.measure import steps
from kinema.benchmark.measure.hardware import Memory, matmul_flops
from kinema.benchmark.measure.statistics import summarize
from kinema.benchmark.options import Form, TrainMeasure
from kinema.config import apply
from kinema.console import progress
from kinema.errors import UserError
from kinema.recipes import config_of, recognizer_config_of
from kinema.runtime.hardware import machine
from kinema.runtime.processes import Process, process_group
from kinema.training.config import AnyConfig, single_training
from kinema.training.run import Run, set_up
from kinema.training.task import HasSampleData

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainFigures:
    """Cost of a training; times in seconds, memory in GiB."""

    recipe: str
    s_per_iter: float
    """Mean time of an iteration, data loading included."""
    median: float
    p95: float
    data_wait_share: float
    """Fraction of `s_per_iter` spent waiting for data."""
    compute_s_per_iter: float | None
    """Mean time of the same steps on a batch already in memory."""
    data_s_per_iter: float | None
    """Time to load the batches of a step while nothing else runs."""
    videos_per_s: float
    memory_gib: float
    """Peak memory: allocated on a GPU (maximum over processes), or resident in all processes on a CPU."""
    memory: dict[str, float]
    """Components of the peak, see `Memory`."""
    flops_per_iter: int
    """FLOPs of the forward and backward passes of one process: convolutions and matrix products."""
    flops_per_s: float | None
    """`flops_per_iter` / `compute_s_per_iter`."""
    matmul_flops_per_s: float
    """Measured throughput of a large matrix product in the same dtype."""
    iters: int
    skipped: int
    batch_size: int
    """Videos per batch of one process."""
    processes: int
    input: str
    """Kind of input and its storage."""
    data: str
    """Description of generated data; empty for the user's own."""
    precision: str
    machine: str
    torch: str = torch.__version__


def benchmark_train(
    recipe: str, measure: TrainMeasure, keys: Mapping[str, object], *, folder: Path
) -> TrainFigures | None:
    """Measure the training of a recipe, in one process or in all processes of torchrun.

    Args:
        recipe: Name listed by `kinema recipes`, or my_file.py:function.
        measure: Options of the measurement.
        keys: Dotted keys of options to change.
        folder: Folder for generated data.

    Returns:
        The figures in the first process, None in the others.

    Raises:
        UserError: An option is invalid, or the data cannot be used.
    """
    with (
        serving(measure.storage) as server,
        training(recipe, measure, {**server, **keys}, folder=folder) as (run, data),
    ):
        figures = _measure(run, measure, data)
        return figures if run.process.is_main else None


@contextmanager
def training(
    recipe: str, measure: TrainMeasure, keys: Mapping[str, object], *, folder: Path
) -> Iterator[tuple[Run, str]]:
    """Set up a training as `kinema train` does, long enough for `measure`.

    Yields:
        The run, and a description of generated data (empty for the user's own).

    Raises:
        UserError: An option is invalid, or the data cannot be used.
    """
    if measure.source != "recipe":
        recognizer_config_of(recipe)  # others read no videos
    config = single_training(config_of(recipe, {**_quick_start(recipe), **_form(measure.source), **keys}))
    with TemporaryDirectory() as work_dir, process_group(config.runtime) as process:
        config, data = _with_data(config, measure, process, folder)
        config.schedule.epochs = max(config.schedule.epochs, measure.skip + measure.iters + 2 * measure.parts + 99)
        run = set_up(config, config.task.open(config, process), process, work_dir=Path(work_dir), resume=False)
        try:
            yield run, data
        finally:
            run.close()


def _quick_start(recipe: str) -> dict[str, object]:
    """Random weights instead of pretrained ones, which would be downloaded and take the same time."""
    model = getattr(config_of(recipe), "model", None)
    return {"model.pretrained": "none"} if hasattr(model, "pretrained") else {}


def _form(source: Form | Literal["recipe"]) -> dict[str, object]:
    return {} if source == "recipe" else {"data.source": "rawframes" if source == "rawframes" else "video"}


def _with_data(config: AnyConfig, measure: TrainMeasure, process: Process, folder: Path) -> tuple[AnyConfig, str]:
    """Return the config with generated data if it names none, and a description of that data."""
    if getattr(config.data, "train", "") or getattr(config.data, "ground_truth", ""):
        return config, ""
    if isinstance(config.task, HasSampleData):
        task, videos = config.task, _videos(config, process)
        process.run_on_main(lambda: task.write_sample(folder, config, videos=videos))
        return apply(config, task.sample_options(folder, config)), f"random features of {videos} videos"
    if not hasattr(config.data, "source"):
        raise UserError(f"no data can be generated for {config.recipe}: pass its data by options")
    return _with_videos(config, measure, process, folder)


def _videos(config: AnyConfig, process: Process) -> int:
    return int(config.data.batch_size * process.world * config.training.accumulate * 4)


def _with_videos(config: AnyConfig, measure: TrainMeasure, process: Process, folder: Path) -> tuple[AnyConfig, str]:
    form: Form = measure.source if measure.source != "recipe" else _form_of(config)
    rows = _videos(config, process)
    listing, num_classes = folder / f"{form}.txt", config.model.num_classes
    few = measure.videos is None and measure.sample_videos * measure.sample_frames < 1000
    write = partial(
        _write_list,
        folder,
        form,
        rows=rows,
        num_classes=num_classes,
        videos=measure.videos,
        count=measure.sample_videos,
        frames=measure.sample_frames,
        workers=1 if few else 0,
    )
    process.run_on_main(lambda: _in_another_process(write))
    data = f"videos of {measure.videos.name}" if measure.videos else f"{measure.sample_videos} synthetic videos"
    if process.is_main:
        log.info("no --data.train given: measuring on %s, repeated", data)
    return apply(config, {"data.train": str(listing), "data.val": ""}), data


def _write_list(*args: Any, **options: Any) -> None:
    from kinema.benchmark.inputs.videos import sample_list  # loads libraries that a training does not

    sample_list(*args, **options)


def _in_another_process(function: Callable[[], None]) -> None:
    """Call `function`, whose memory is not to count as this process's."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            pool.submit(function).result()
        except BrokenProcessPool as error:
            raise UserError("the process that wrote the data to measure on was killed: it may lack memory") from error


def _form_of(config: AnyConfig) -> Form:
    if config.data.source not in ("video", "rawframes"):
        raise UserError(f"{config.recipe} reads {config.data.source}, which cannot be generated: pass --data.train")
    form: Form = config.data.source
    return form


def _measure(run: Run, measure: TrainMeasure, data: str) -> TrainFigures:
    parts = min(measure.parts, measure.iters)
    total = measure.skip + measure.iters + (parts + 1 if parts else 0)
    batches = iter(run.batches)
    run.network.train()
    with progress("measuring", total, show=run.process.is_main) as meter:
        timed = steps.time_steps(run, batches, skip=measure.skip, iters=measure.iters, done=meter.advance)
        (batch,) = islice(batches, 1)
        del batches  # stops its workers
        done = measure.skip + measure.iters
        compute = steps.time_compute(run, batch, iters=parts, first=done, done=meter.advance) if parts else None
    alone = steps.time_data(run, iters=parts) if parts else None
    times, flops = summarize(timed.seconds), steps.step_flops(run, batch)
    config, memory = run.config, _of_all_processes(timed.memory)
    return TrainFigures(
        recipe=config.recipe,
        s_per_iter=timed.mean,
        median=times.median,
        p95=times.p95,
        data_wait_share=timed.waited / timed.mean,
        compute_s_per_iter=compute.mean if compute else None,
        data_s_per_iter=alone,
        videos_per_s=config.data.batch_size * config.training.accumulate * run.process.world / timed.mean,
        memory_gib=memory.total,
        memory=asdict(memory),
        flops_per_iter=flops,
        flops_per_s=flops / compute.mean if compute else None,
        matmul_flops_per_s=matmul_flops(run.process.device, steps.compute_dtype(run)),
        iters=measure.iters,
        skipped=measure.skip,
        batch_size=config.data.batch_size,
        processes=run.process.world,
        input=_input(config, measure),
        data=data,
        precision=config.runtime.precision,
        machine=machine(run.process.device),
    )


def _of_all_processes(memory: Memory) -> Memory:
    if not dist.is_initialized():
        return memory
    gathered: list[Memory | None] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, memory)
    peaks = [peak for peak in gathered if peak is not None]
    return Memory(
        process=sum(peak.process for peak in peaks),
        workers=sum(peak.workers for peak in peaks),
        allocated=max(peak.allocated for peak in peaks),
        reserved=max(peak.reserved for peak in peaks),
    )


def _input(config: AnyConfig, measure: TrainMeasure) -> str:
    options = getattr(config.data, "storage", None)
    storage = "Memcached" if options and options.memcached else "disk"
    if hasattr(config.data, "reads"):
        return f"{config.data.reads.partition(' ')[0]}, {storage}"
    form = measure.source if measure.source != "recipe" else config.data.source
    kind = {"rawframes": "rawframes", "video": "videos", "dense": "dense-encoded videos"}.get(form, form)
    return f"{kind}, {storage}"
