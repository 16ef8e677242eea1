"""`kinema prepare sample`: a small synthetic dataset for first experiments, rendered without a download."""

import logging
from functools import partial
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from kinema.config import check_bounds
from kinema.prepare.drawn.motion import FPS
from kinema.prepare.drawn.scene import LABELS, render_clip
from kinema.prepare.options import SampleOptions
from kinema.prepare.work.jobs import Summary, Unit, claim_folder, run_jobs
from kinema.storage import replacing

log = logging.getLogger(__name__)


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
    units = [
        Unit(source=f"{split}/{label}/{index}", output=options.folder / split / label / f"{label}_{index:04d}.mp4")
        for split, count in counts.items()
        for label in LABELS
        for index in range(count)
    ]
    work, report = partial(_render, options.seed), options.folder / "failures.csv"
    summary = run_jobs(work, units, title="Rendering clips", report=report, workers=options.workers)
    log.info("to train on these: kinema train RECIPE --data.train %s/train", options.folder)
    return summary


_GENERATOR = 2
"""Version of the renderer, incremented whenever the same options give other clips."""


def _render(seed: int, unit: Unit) -> None:
    """Render the clip SPLIT/LABEL/INDEX."""
    split, label, index = unit.source.split("/")
    with replacing(unit.output) as temporary:
        _encode(render_clip(label, (seed, ("train", "val").index(split), int(index))), temporary)


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
