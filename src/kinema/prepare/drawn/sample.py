"""`kinema prepare sample`: a small synthetic dataset for first experiments, rendered without a download."""

import logging
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import annotated_types as at
import av
import numpy as np
import tyro
from numpy.typing import NDArray

from kinema.config import check_bounds
from kinema.console import progress
from kinema.prepare.drawn.motion import FPS
from kinema.prepare.drawn.scene import LABELS, render_clip
from kinema.prepare.work.interrupts import soon_interrupted
from kinema.prepare.work.jobs import Summary, claim_folder
from kinema.prepare.work.parallel import in_parallel
from kinema.storage import remove_leftovers, replacing

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Render a small dataset of H.264 clips: eight motions in four opposite pairs, such as left and right.

    The two motions of a pair differ only in the order of frames. After an interruption, run the command again to
    continue.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Output folder for train/ and val/, with a folder per class."""
    train_per_class: Annotated[int, at.Ge(1)] = 100
    """Training clips per class."""
    val_per_class: Annotated[int, at.Ge(1)] = 25
    """Validation clips per class."""
    seed: Annotated[int, at.Ge(0)] = 0
    """Seed of all random choices."""
    workers: Annotated[int, at.Ge(0)] = 0
    """Number of processes; 0: one per core."""


def prepare_sample(options: SampleOptions) -> Summary:
    """Render clips of 8 motions in 4 opposite pairs, such as `folder/train/growing/growing_0000.mp4`.

    A clip has 32 frames of 128×96 pixels in H.264 at 16 fps, about 13 kB. Clip i of a class is clip i of the opposite
    class reversed in time, so that the two differ only in the order of frames. The same options give the same clips,
    independent of the number of workers. `folder/sample.json` records the options. After an interruption, another call
    renders only the missing clips.

    Raises:
        UserError: An option is out of range, or the folder holds other files, or clips rendered with other options.
    """
    check_bounds(options)
    counts = {"train": options.train_per_class, "val": options.val_per_class}
    settings = {"train_per_class": counts["train"], "val_per_class": counts["val"], "seed": options.seed}
    claim_folder(options.folder, "sample.json", {"generator": _GENERATOR, **settings})
    clips = [
        _Clip(options.folder / split / label / f"{label}_{index:04d}.mp4", label, (options.seed, number, index))
        for number, split in enumerate(counts)
        for label in LABELS
        for index in range(counts[split])
    ]
    missing = [clip for clip in clips if not clip.path.exists()]
    clean_up = partial(remove_leftovers, [clip.path for clip in missing])
    clean_up()
    results = in_parallel(_write, missing, workers=options.workers)
    with soon_interrupted(clean_up):
        try:
            with progress("Rendering clips", len(missing)) as meter, closing(results):
                for _ in results:
                    meter.advance()
        finally:
            clean_up()
    log.info(
        "%d clips rendered, %d existed already; to train on them, pass --data.train %s/train",
        len(missing), len(clips) - len(missing), options.folder,
    )  # fmt: skip
    return Summary(done=len(missing), kept=len(clips) - len(missing), failures={})


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
