"""BSN in its stages: TEM learns where actions start and end, candidates are generated, PEM learns to judge them."""

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from kinema.config import dump
from kinema.console import progress
from kinema.data.bad_files import BadFiles
from kinema.data.features.spans import FeatureSpan
from kinema.data.loader import num_workers
from kinema.errors import UserError, renaming_options
from kinema.models.bsn import TEM
from kinema.runtime.device import autocast, place
from kinema.storage import write_text
from kinema.tasks.localization.data import FeatureData, ProposalData, open_source, train_truth, val_file, val_truth
from kinema.tasks.localization.evaluation import feature_batches
from kinema.tasks.localization.generation.pgm import CandidateOptions, describe, generate, match
from kinema.tasks.localization.generation.proposal_files import (
    Described,
    Origin,
    file_of,
    read_origin,
    write_described,
    write_origin,
)
from kinema.tasks.localization.metrics.segments import Floats
from kinema.tasks.localization.options import PEMTask
from kinema.tasks.localization.videos import Videos, with_features
from kinema.training.config import BSNConfig, LocalizationConfig, PGMConfig, Stage
from kinema.training.distributed import InterruptedRun, Process, StopRequest, agree, joined, outage_shared
from kinema.training.loop import train_network
from kinema.training.setup import check_resumed, resumable_config
from kinema.weights.model_files import digest, find_model, load_localizer

log = logging.getLogger(__name__)


def train_bsn(config: BSNConfig, *, work_dir: Path, resume: bool) -> dict[str, float]:
    """Run the stages into `work_dir`/{tem,candidates,pem}.

    With `resume` each stage goes on where it stopped. Returns PEM's metrics: the proposals of all three.

    Raises:
        UserError: see `train` and `generate_candidates`.
    """
    refuse_earlier_stages(work_dir, resume=resume)
    with joined(config.runtime) as process, StopRequest().listening() as stop:
        process.first_does(lambda: _keep_config(config, work_dir))
        log.info("1 of 3: TEM")
        with renaming_options(stage_options("tem")):
            train_network(tem_stage(config), work_dir=work_dir / "tem", resume=resume)
        _stop_if_asked(stop)
        log.info("2 of 3: candidates")
        assert isinstance(config.pem.task, PEMTask)
        generation = PGMConfig(tem=str(work_dir / "tem"), candidates=config.pem.task.candidates, runtime=config.runtime)
        generation.recipe = config.recipe
        generate_candidates(generation, work_dir=work_dir / "candidates", resume=resume)
        _stop_if_asked(stop)
        log.info("3 of 3: PEM")
        pem = _stage(config, config.pem, _candidates_of(config, work_dir / "candidates"))
        with renaming_options(stage_options("pem")):
            return train_network(pem, work_dir=work_dir / "pem", resume=resume)


def refuse_earlier_stages(work_dir: Path, *, resume: bool) -> None:
    """See that a new run does not write over an old one.

    Raises:
        UserError: `work_dir` holds a run that is not resumed.
    """
    if not resume and any((work_dir / stage).exists() for stage in ("tem", "candidates", "pem")):
        raise UserError(f"{work_dir} holds a run already: add --resume to continue it, or choose another --work-dir")


def stage_options(stage: str) -> dict[str, str]:
    """How messages of a stage's training are to call its options, see `renaming_options`."""
    groups = ("model", "task", "optim", "schedule", "training")
    return {f"--{group}.": f"--{stage}.{group}." for group in groups}


def _keep_config(config: BSNConfig, work_dir: Path) -> None:
    if file := resumable_config(work_dir):
        check_resumed(config, file)
    write_text(work_dir / "config.yaml", dump(config, recipe=config.recipe))


def tem_stage(config: BSNConfig) -> LocalizationConfig:
    """The first network's training."""
    return _stage(config, config.tem, config.data)


def _stop_if_asked(stop: StopRequest) -> None:
    """Called by all processes.

    Raises:
        InterruptedRun: one of them was asked to stop.
    """
    if agree(stop.received, [])[0]:
        raise InterruptedRun("stopped as asked; the same command with --resume continues", exit_code=stop.exit_code)


def _stage(config: BSNConfig, stage: Stage, data: FeatureData | ProposalData) -> LocalizationConfig:
    made = LocalizationConfig(
        model=stage.model,
        task=stage.task,
        data=data,
        optim=stage.optim,
        schedule=stage.schedule,
        training=stage.training,
        runtime=config.runtime,
    )
    made.recipe = config.recipe
    return made


def _candidates_of(config: BSNConfig, folder: Path) -> ProposalData:
    data = config.data
    return ProposalData(
        ground_truth=data.ground_truth,
        val_ground_truth=data.val_ground_truth,
        train_subset=data.train_subset,
        val_subset=data.val_subset,
        batch_size=data.batch_size,
        val_batch_size=data.val_batch_size,
        workers=data.workers,
        max_bad_fraction=data.max_bad_fraction,
        proposals=str(folder),
        train_candidates=config.train_candidates,
    )


def generate_candidates(config: PGMConfig, *, work_dir: Path, resume: bool) -> dict[str, float]:
    """Write the candidates of all training and validation videos of a TEM into `work_dir`, a file for each.

    With `resume` files that are there already are kept.

    Returns:
        `videos` that have candidates, `bad_files` (counts).

    Raises:
        UserError: there is no TEM, its data are faulty, or `work_dir` holds candidates and `resume` is not set, or
            those of another TEM or other options.
    """
    with joined(config.runtime) as process, StopRequest().listening() as stop:
        tem, data, origin = open_tem(config)
        process.first_does(lambda: _claim(work_dir, origin, config, resume=resume))
        place(tem, process.device, config.runtime)
        source = open_source(data, channels=tem.input.channels)
        truths = [(data.ground_truth, train_truth(data))]
        truths += [(val_file(data), val_truth(data))] if data.val_subset else []
        videos, bad = 0, 0
        for path, truth in truths:
            of_subset = with_features(path, truth, source)
            found = _generate(tem, of_subset, data, config, work_dir, process, stop)
            _stop_if_asked(stop)
            videos, bad = videos + len(of_subset) - found, bad + found
        return {"videos": videos, "bad_files": bad}


def open_tem(config: PGMConfig) -> tuple[TEM, FeatureData, Origin]:
    """The TEM whose candidates are generated, what it reads, and what is kept of their origin.

    Raises:
        UserError: there is none.
    """
    if not config.tem:
        raise UserError("pass --tem, the work dir of a bsn_tem run or a checkpoint of it")
    tem, described = load_localizer(Path(config.tem))
    if not isinstance(tem, TEM) or not isinstance(described.data, FeatureData):
        raise UserError(f"{config.tem} is no TEM, but a {type(tem).__name__}")
    origin = Origin(tem=digest(find_model(Path(config.tem))), options=config.candidates)
    return tem, described.data, origin


def refuse_other_candidates(work_dir: Path, origin: Origin, *, resume: bool) -> None:
    """See that candidates do not come to lie beside others.

    Raises:
        UserError: `work_dir` holds candidates and `resume` is not set, or those of another origin.
    """
    before = read_origin(work_dir)
    if before is not None and not resume:
        raise UserError(f"{work_dir} holds candidates already: add --resume to go on, or choose another --work-dir")
    if before is not None and before != origin:
        raise UserError(f"the candidates in {work_dir} are of another TEM or other options: choose another --work-dir")


def _claim(work_dir: Path, origin: Origin, config: PGMConfig, *, resume: bool) -> None:
    refuse_other_candidates(work_dir, origin, resume=resume)
    write_text(work_dir / "config.yaml", dump(config, recipe=config.recipe))
    write_origin(work_dir, origin)


def _generate(
    tem: TEM,
    videos: Videos,
    data: FeatureData,
    config: PGMConfig,
    folder: Path,
    process: Process,
    stop: StopRequest,
) -> int:
    """Write the candidates of one subset's videos, until asked to stop; returns how many videos are bad."""
    todo = _without(videos, [row for row in range(len(videos)) if file_of(folder, videos.name(row)).exists()])
    bad_files = BadFiles(
        num_videos=len(videos),
        max_fraction=data.max_bad_fraction,
        listing=folder / "bad_files.csv" if process.is_main else None,
    )
    if not len(todo):
        return 0
    source = open_source(data, channels=tem.input.channels)
    workers = num_workers(data.workers, process.local_world)
    batches = feature_batches(todo, source, data, workers=workers, rank=process.rank, world=process.world)
    make = partial(_described, options=config.candidates)
    with (
        outage_shared(),
        torch.inference_mode(),
        autocast(process.device, config.runtime),
        progress("generating candidates", len(batches), show=process.is_main) as meter,
    ):
        for batch in batches:
            if stop.received:
                break
            bad_files.add(batch.bad)
            bad_files.check()
            inputs = batch.inputs.to(process.device)
            for position, row in enumerate(batch.indices.tolist()):
                # One video at a time: rounding in a batch depends on what else is in it.
                scores = (each[0].cpu().numpy() for each in tem(inputs[position : position + 1]))
                made = make(*scores, instances=todo.instances[row], span=todo.spans[row])
                write_described(folder, todo.name(row), made)
            meter.advance()
    return len(bad_files)


def _described(
    action: Floats,
    start: Floats,
    end: Floats,
    *,
    instances: Floats,
    span: FeatureSpan,
    options: CandidateOptions,
) -> Described:
    candidates = generate(start, end, options.generation)
    return Described(
        candidates=candidates,
        features=describe(action, candidates.segments, options.description).astype(np.float32),
        overlaps=match(candidates.segments, instances)[0].astype(np.float32),
        span=span,
    )


def _without(videos: Videos, done: list[int]) -> Videos:
    """The other videos; the rest of their ground truth, which is not looked at here, stays that of all."""
    kept = sorted(set(range(len(videos))) - set(done))
    return Videos(
        truth=replace(videos.truth, videos=tuple(videos.truth.videos[row] for row in kept)),
        spans=tuple(videos.spans[row] for row in kept),
        instances=tuple(videos.instances[row] for row in kept),
    )
