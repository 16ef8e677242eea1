"""Candidates of BSN: pairs of a possible start and end from the outputs of a trained TEM, for PEM to evaluate."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from kinema.console import progress
from kinema.data.bad_files import BadFiles
from kinema.data.loader import RowBatches
from kinema.errors import UserError
from kinema.models.capabilities import HasInput, require
from kinema.runtime.device import RuntimeOptions, autocast, to_device
from kinema.runtime.processes import Process, outage_shared, process_group
from kinema.tasks.localization.bsn.candidate_files import (
    Described,
    Origin,
    file_of,
    read_origin,
    write_described,
    write_origin,
)
from kinema.tasks.localization.bsn.options import CandidateOptions
from kinema.tasks.localization.bsn.pgm import describe, generate, match
from kinema.tasks.localization.bsn.tem import TEMTask
from kinema.tasks.localization.data.features import FeatureData, FeatureSplit, open_source, windows_of
from kinema.tasks.localization.data.videos import Videos, with_features
from kinema.tasks.localization.data.windows import Windows, kept_candidates, whole_videos
from kinema.tasks.localization.metrics.segments import Floats
from kinema.tasks.models import load_model
from kinema.training.order import load_batches
from kinema.training.parallel.distributed import StopRequest, raise_if_stop_requested
from kinema.weights.find import find_model
from kinema.weights.model_files import digest

log = logging.getLogger(__name__)


def generate_candidates(
    model: Path, output: Path, options: CandidateOptions, runtime: RuntimeOptions
) -> dict[str, float]:
    """Write the candidates of all training and validation videos of a TEM, a file for each video.

    Files that are there already are kept.

    Args:
        model: a trained TEM, whose features and ground truth are taken.
        output: the folder that receives them.
        options: how candidates are generated and described.
        runtime: where and how the TEM runs.

    Returns:
        `videos` that have candidates, `bad_files` (counts).

    Raises:
        UserError: there is no TEM, its data are faulty, or `output` holds candidates of another TEM or other options.
        InterruptedRun: SIGTERM, SIGUSR1 or Ctrl-C came.
    """
    with process_group(runtime) as process, StopRequest().listening() as stop:
        tem, data, origin = _open_tem(model, options)
        process.run_on_main(lambda: _claim(output, origin))
        to_device(tem, process.device, runtime)
        source = open_source(data, channels=require(tem, HasInput, "kinema prepare candidates").input.channels)
        videos, bad = 0, 0
        for _, path, truth in data.splits():
            found = with_features(path, truth, source)
            split = FeatureSplit(
                videos=found, windows=windows_of(found, source, data.windows), source=source, data=data
            )
            failed = _generate(tem, split, options, runtime, output, process, stop)
            raise_if_stop_requested(stop)
            videos, bad = videos + len(split.videos) - failed, bad + failed
        return {"videos": videos, "bad_files": bad}


def _open_tem(model: Path, options: CandidateOptions) -> tuple[nn.Module, FeatureData, Origin]:
    """Return the TEM, its data, and the origin of its candidates."""
    folder = find_model(model)
    tem, described = load_model(folder, task=TEMTask, expected="TEM; pass one, the run of a bsn_tem recipe")
    return tem, described.data, Origin(tem=digest(folder), options=options)


def _claim(output: Path, origin: Origin) -> None:
    before = read_origin(output)
    if before not in (None, origin):
        raise UserError(f"{output} holds candidates of another TEM or other options: choose another folder")
    write_origin(output, origin)


def _generate(
    tem: nn.Module,
    split: FeatureSplit,
    options: CandidateOptions,
    runtime: RuntimeOptions,
    folder: Path,
    process: Process,
    stop: StopRequest,
) -> int:
    """Write the candidates of a split's videos, until asked to stop; returns how many videos are bad."""
    videos, data = split.videos, split.data
    todo = [row for row in range(len(videos)) if not file_of(folder, videos.name(row)).exists()]
    bad_files = BadFiles(
        num_videos=len(videos),
        max_fraction=data.max_bad_fraction,
        listing=folder / "bad_files.csv" if process.is_main else None,
    )
    if not todo:
        return 0
    windows = split.windows or whole_videos(videos)
    counts = np.bincount(windows.video)
    rows = np.concatenate([np.flatnonzero(windows.video == row) for row in todo[process.rank :: process.world]])
    batches = load_batches(split.dataset(None), RowBatches(rows.tolist(), data.val_batch_size), data.workers, process)
    parts: dict[int, list[Described]] = {}
    with (
        outage_shared(),
        torch.inference_mode(),
        autocast(process.device, runtime),
        progress("generating candidates", len(batches), show=process.is_main) as meter,
    ):
        for batch in batches:
            if stop.received:
                break
            bad_files.add(batch.bad)
            bad_files.check()
            inputs = batch.inputs.to(process.device)
            for position, window in enumerate(batch.rows.tolist()):
                # One input at a time: rounding in a batch depends on what else is in it.
                scores = [each[0].cpu().numpy() for each in tem(inputs[position : position + 1])]
                row = int(windows.video[window])
                parts.setdefault(row, []).append(_of_window(scores, videos, windows, window, options))
                if len(parts[row]) == counts[row]:  # of a video with a bad file, never
                    write_described(folder, videos.name(row), _together(parts.pop(row)))
            meter.advance()
    return len(bad_files)


def _of_window(
    scores: Sequence[Floats], videos: Videos, windows: Windows, window: int, options: CandidateOptions
) -> Described:
    """The candidates that TEM's actionness, starts and ends of a window yield, in fractions of its video's span."""
    action, start, end = scores
    row, (first, last) = int(windows.video[window]), windows.parts[window]
    span, of_video = videos.spans[row], np.flatnonzero(windows.video == row)
    found = generate(start, end, options.generation)
    segments = (first + found.segments * (last - first)).clip(0, 1)
    kept = kept_candidates(
        span.seconds(segments),
        [windows.pieces.spans[each] for each in of_video],
        window - int(of_video[0]),
        tolerance=1 / len(action),
    )
    return Described(
        segments=segments[kept],
        starts=found.starts[kept],
        ends=found.ends[kept],
        features=describe(action, found.segments, options.description)[kept].astype(np.float32),
        overlaps=match(segments[kept], videos.instances[row])[0].astype(np.float32),
        span=span,
        windows=len(of_video),
        window_length=float(last - first),
    )


def _together(parts: Sequence[Described]) -> Described:
    """The candidates of all windows of a video, the most probable ones first."""
    starts, ends = (np.concatenate([getattr(part, name) for part in parts]) for name in ("starts", "ends"))
    order = np.argsort(-starts * ends, kind="stable")
    return replace(
        parts[0],
        segments=np.concatenate([part.segments for part in parts])[order],
        starts=starts[order],
        ends=ends[order],
        features=np.concatenate([part.features for part in parts])[order],
        overlaps=np.concatenate([part.overlaps for part in parts])[order],
    )
