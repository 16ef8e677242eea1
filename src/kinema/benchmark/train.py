"""`kinema benchmark train`: the training that `kinema train` runs, timed."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import annotated_types as at
import torch
import torch.distributed as dist

from kinema.benchmark.inputs.features import sample_options, write_sample
from kinema.benchmark.inputs.memcached import Storage, serving
from kinema.benchmark.inputs.videos import Form, sample_list
from kinema.benchmark.measure import steps
from kinema.benchmark.measure.hardware import Memory, machine, matmul_flops
from kinema.benchmark.measure.statistics import summarize
from kinema.config import apply
from kinema.console import progress
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.tasks.localization.data import ProposalData
from kinema.training.config import AnyConfig, BSNConfig, Config, LocalizationConfig, PGMConfig
from kinema.training.distributed import Process, joined
from kinema.training.loop import open_task
from kinema.training.run import Run, set_up

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class TrainMeasure:
    """What is measured, and how long."""

    iters: Annotated[int, at.Ge(1)] = 200
    """Iterations that count."""
    skip: Annotated[int, at.Ge(0)] = 50
    """Iterations before that do not: the device warms up."""
    parts: Annotated[int, at.Ge(0)] = 50
    """Iterations that count in each of the two other measurements, of computing alone and of the data alone, at most
    as many as `iters`; 0: leave both out."""
    source: Form | Literal["recipe"] = "recipe"
    """What is read: rawframes, ordinary video or dense-encoded video; recipe: what the recipe reads."""
    storage: Storage = "disk"
    """Where files come from: the disk, or a Memcached server that is started for the run and holds them from their
    first reading on. Servers of your own: --data.storage.memcached."""
    videos: Path | None = None
    """Folder of videos to measure on, brought to 256p in the form of --source first. Labels do not matter. When
    neither this nor --data.train is given, videos are drawn."""
    sample_videos: Annotated[int, at.Ge(1)] = 8
    """Different videos that are drawn."""
    sample_frames: Annotated[int, at.Ge(1)] = 300
    """Frames of a drawn video, 30 a second."""


@dataclass(frozen=True, kw_only=True)
class TrainFigures:
    """What a training costs; times in seconds, memory in GiB."""

    recipe: str
    s_per_iter: float
    """Mean over the iterations that count, data included."""
    median: float
    p95: float
    data_wait_share: float
    """Share of that time that was spent waiting for data."""
    compute_s_per_iter: float | None
    """Of the same steps over one batch that is there already."""
    data_s_per_iter: float | None
    """Of making the batches, when nothing else is done."""
    videos_per_s: float
    memory_gib: float
    """Peak: allocated on a GPU (the largest of all processes), or held by all processes on a CPU."""
    memory: dict[str, float]
    """Its parts, see `Memory`."""
    flops_per_iter: int
    """Of forward and backward passes: convolutions and matrix products, in one process."""
    flops_per_s: float | None
    """That over `compute_s_per_iter`."""
    matmul_flops_per_s: float
    """Of a large matrix product in the same arithmetic, measured."""
    iters: int
    skipped: int
    batch_size: int
    """Videos in a batch of one process."""
    processes: int
    input: str
    """What was read, from where."""
    data: str
    """Which videos, when they are none of the user's."""
    precision: str
    machine: str
    torch: str = torch.__version__

    def as_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return asdict(self)


def benchmark_train(
    recipe: str, measure: TrainMeasure, keys: Mapping[str, object], *, folder: Path
) -> TrainFigures | None:
    """Measure the training of a recipe with the options `keys`, alone or as one of the processes of torchrun.

    Args:
        recipe: a name that `kinema recipes` lists, or my_file.py:function.
        measure: what is measured.
        keys: dotted keys of the recipe's options.
        folder: receives the videos that are made, and nothing else.

    Returns:
        The figures; None in all processes but the first.

    Raises:
        UserError: options are faulty, or the data cannot be used.
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
    """A training that is set up as `kinema train` does, long enough for `measure`, and what its data are if made here.

    Raises:
        UserError: options are faulty, or the data cannot be used.
    """
    if measure.source != "recipe" and not isinstance(config_of(recipe), Config):
        raise UserError(f"--source {measure.source} is for recognizers: {recipe} reads features")
    config = config_of(recipe, {**_quick_start(recipe), **_form(measure.source), **keys})
    if isinstance(config, PGMConfig | BSNConfig):
        raise UserError(f"{recipe} is more than one training: measure a bsn_tem_… and a bsn_pem_… recipe")
    with TemporaryDirectory() as work_dir, joined(config.runtime) as process:
        config, data = _with_data(config, measure, process, folder)
        config.schedule.epochs = max(config.schedule.epochs, measure.skip + measure.iters + 2 * measure.parts + 99)
        run = set_up(config, open_task(config, process), process, work_dir=Path(work_dir), resume=False)
        try:
            yield run, data
        finally:
            run.close()


def _quick_start(recipe: str) -> dict[str, object]:
    """Random weights: they cost the same as trained ones and need no download."""
    model = getattr(config_of(recipe), "model", None)
    return {"model.pretrained": "none"} if hasattr(model, "pretrained") else {}


def _form(source: Form | Literal["recipe"]) -> dict[str, object]:
    return {} if source == "recipe" else {"data.source": "rawframes" if source == "rawframes" else "video"}


def _with_data(config: AnyConfig, measure: TrainMeasure, process: Process, folder: Path) -> tuple[AnyConfig, str]:
    """The config with videos to train on, and what these are when they are made here."""
    if isinstance(config, LocalizationConfig):
        return _with_features(config, process, folder)
    if config.data.train:
        return config, ""
    form: Form = measure.source if measure.source != "recipe" else _form_of(config)
    rows = config.data.batch_size * process.world * config.training.accumulate * 4
    listing, num_classes = folder / f"{form}.txt", config.model.num_classes
    process.first_does(
        lambda: sample_list(
            folder,
            form,
            rows=rows,
            num_classes=num_classes,
            videos=measure.videos,
            count=measure.sample_videos,
            frames=measure.sample_frames,
            workers=1 if measure.videos is None and measure.sample_videos * measure.sample_frames < 1000 else 0,
        )
    )
    made = f"videos of {measure.videos.name}" if measure.videos else f"{measure.sample_videos} drawn videos"
    if process.is_main:
        log.info("no --data.train: measured on %s, again and again", made)
    recipe, config = config.recipe, apply(config, {"data.train": str(listing), "data.val": ""})
    config.recipe = recipe
    return config, made


def _with_features(config: LocalizationConfig, process: Process, folder: Path) -> tuple[LocalizationConfig, str]:
    if config.data.ground_truth:
        return config, ""
    videos = config.data.batch_size * process.world * config.training.accumulate * 4
    process.first_does(lambda: write_sample(folder, config, videos=videos))
    sampled = apply(config, sample_options(folder, config))
    sampled.recipe = config.recipe
    return sampled, f"random features of {videos} videos"


def _form_of(config: Config) -> Form:
    if config.data.source not in ("video", "rawframes"):
        raise UserError(f"{config.recipe} reads {config.data.source}, of which no sample is drawn: give --data.train")
    return config.data.source


def _measure(run: Run, measure: TrainMeasure, data: str) -> TrainFigures:
    parts = min(measure.parts, measure.iters)
    total = measure.skip + measure.iters + (parts + 1 if parts else 0)
    batches = iter(run.batches)
    run.network.train()
    with progress("measuring", total, show=run.process.is_main) as meter:
        timed = steps.time_steps(run, batches, skip=measure.skip, iters=measure.iters, done=meter.advance)
        (batch,) = islice(batches, 1)
        del batches  # ends its workers
        done = measure.skip + measure.iters
        compute = steps.time_compute(run, batch, iters=parts, first=done, done=meter.advance) if parts else None
    alone = steps.time_data(run, iters=parts) if parts else None
    times, flops = summarize(timed.each), steps.step_flops(run, batch)
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
        matmul_flops_per_s=matmul_flops(run.process.device, steps.arithmetic(run)),
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
    all_of_them: list[Memory | None] = [None] * dist.get_world_size()
    dist.all_gather_object(all_of_them, memory)
    found = [each for each in all_of_them if each is not None]
    return Memory(
        process=sum(each.process for each in found),
        workers=sum(each.workers for each in found),
        allocated=max(each.allocated for each in found),
        reserved=max(each.reserved for each in found),
    )


def _input(config: AnyConfig, measure: TrainMeasure) -> str:
    if isinstance(config.data, ProposalData):
        return "candidates, disk"
    place = "Memcached" if config.data.storage.memcached else "disk"
    if not isinstance(config, Config):
        return f"features, {place}"
    form = measure.source if measure.source != "recipe" else config.data.source
    what = {"rawframes": "rawframes", "video": "videos", "dense": "dense-encoded videos"}.get(form, form)
    return f"{what}, {place}"
