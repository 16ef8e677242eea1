"""`kinema prepare sample`: a small synthetic dataset for first experiments, rendered without a download."""

import os
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from kinema.console import progress
from kinema.errors import UserError
from kinema.prepare.drawn.motion import FPS
from kinema.prepare.drawn.scene import LABELS, render_clip
from kinema.prepare.work.interrupts import soon_interrupted
from kinema.prepare.work.jobs import claim_folder
from kinema.prepare.work.parallel import in_parallel
from kinema.storage import remove_leftovers, replacing


@dataclass(frozen=True, kw_only=True)
class SampleSummary:
    """Result of `prepare_sample`."""

    rendered: int
    """Number of clips rendered."""
    kept: int
    """Number of clips that existed already."""


def prepare_sample(
    folder: Path,
    *,
    train_per_class: int = 100,
    val_per_class: int = 25,
    seed: int = 0,
    workers: int = os.cpu_count() or 1,
) -> SampleSummary:
    """Render clips of 8 motions in 4 opposite pairs, such as `folder/train/growing/growing_0000.mp4`.

    A clip has 32 frames of 128×96 pixels in H.264 at 16 fps, about 13 kB. Clip i of a class is clip i of the opposite
    class reversed in time, so that only the order of frames tells the two apart. The same options give the same clips,
    independent of the number of workers. After an interruption, another call renders only the missing clips.

    Args:
        folder: Folder for `train/`, `val/` and `sample.json`, which records the options.
        train_per_class: Training clips per class.
        val_per_class: Validation clips per class.
        seed: Seed of all random choices.
        workers: Number of processes.

    Raises:
        UserError: An option is out of range, or the folder holds other files, or clips rendered with other options.
    """
    _check(train_per_class=(train_per_class, 1), val_per_class=(val_per_class, 1), seed=(seed, 0), workers=(workers, 1))
    counts = {"train": train_per_class, "val": val_per_class}
    settings = {"generator": _GENERATOR, "seed": seed, **{f"{split}_per_class": counts[split] for split in counts}}
    claim_folder(folder, "sample.json", settings)
    clips = [
        _Clip(folder / split / label / f"{label}_{index:04d}.mp4", label, (seed, number, index))
        for number, split in enumerate(counts)
        for label in LABELS
        for index in range(counts[split])
    ]
    missing = [clip for clip in clips if not clip.path.exists()]
    clean_up = partial(remove_leftovers, [clip.path for clip in missing])
    clean_up()
    results = in_parallel(_write, missing, workers=workers)
    with soon_interrupted(clean_up):
        try:
            with progress("Rendering clips", len(missing)) as meter, closing(results):
                for _ in results:
                    meter.advance()
        finally:
            clean_up()
    return SampleSummary(rendered=len(missing), kept=len(clips) - len(missing))


_GENERATOR = 2
"""Version of the renderer, incremented whenever the same options give other clips."""


class _Clip(NamedTuple):
    path: Path
    label: str
    seed: tuple[int, ...]


def _write(clip: _Clip) -> None:
    with replacing(clip.path) as temporary:
        _encode(render_clip(clip.label, clip.seed), temporary)


_EVEN_QUALITY = "bframes=0:ipratio=1:qcomp=1:mbtree=0:keyint=16:scenecut=0"
"""Constant quality: by default x264 spends more bits on the first frames, which would reveal the direction of time."""


def _encode(frames: NDArray[np.uint8], path: Path) -> None:
    options = {"preset": "veryfast", "crf": "18", "x264-params": _EVEN_QUALITY}
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode(None))


def _check(**options: tuple[int, int]) -> None:
    for name, (value, least) in options.items():
        if value < least:
            raise UserError(f"--{name.replace('_', '-')}: found {value}, must be at least {least}")
