"""`kinema prepare flow`: optical flow as pairs of gray JPEGs, horizontal and vertical."""

from collections.abc import Callable, Iterator

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray

from kinema.data.readers.sources import Opener
from kinema.prepare.convert import convert_videos
from kinema.prepare.flow_methods import flow_method
from kinema.prepare.frames import read_all
from kinema.prepare.lists import write_list
from kinema.prepare.options import FlowOptions
from kinema.prepare.work.jobs import Summary, Unit
from kinema.storage import Direct, replacing_folder


def prepare_flow(options: FlowOptions) -> Summary:
    """Write the flow of every video to a folder in `options.output` with the video's name; see `convert_videos`.

    A video of n frames has n - `step` pairs of images, which `frames.csv` counts; lists and records are otherwise those
    of `prepare_frames`.

    Raises:
        UserError: As `convert_videos`, or the library or weights of the method are missing.
    """
    flow_method(options.method, weights=options.weights, device=options.device)
    videos, summary = convert_videos(
        options,
        extract_flow,
        title="Computing flow",
        record="flow.json",
        unrecorded=("device",),
        kind=options.kind,
        option="--kind",
    )
    write_list(videos, options.output, "frames.csv", "flow", images_per_frame=2)
    return summary


def extract_flow(options: FlowOptions, unit: Unit) -> None:
    """Write the flow of the video `unit.source` to the folder `unit.output`.

    Raises:
        MediaError: A frame cannot be decoded.
    """
    method = flow_method(options.method, weights=options.weights, device=options.device)
    reader = Opener(source=options.kind, storage=Direct()).open(unit.source)
    with replacing_folder(unit.output) as folder:
        pairs = _flows(read_all(reader, options.short_side), method, options.step)
        for number, flow in enumerate(pairs, 1):
            for axis, values in zip("xy", flow, strict=True):
                gray = to_gray(values, options.bound)[..., None]
                jpeg = simplejpeg.encode_jpeg(gray, quality=options.quality, colorspace="GRAY", colorsubsampling="Gray")
                (folder / f"flow_{axis}_{number:05}.jpg").write_bytes(jpeg)


def to_gray(flow: NDArray[np.float32], bound: float) -> NDArray[np.uint8]:
    """Quantize displacements v in pixels to round(255 (clip(v, -bound, bound) + bound) / (2 bound)); 0 becomes 128."""
    scaled = (np.clip(flow, -bound, bound) + bound) * (255 / (2 * bound))
    return np.floor(scaled + 0.5).astype(np.uint8)


def _flows(
    batches: Iterator[torch.Tensor], method: Callable[[torch.Tensor, torch.Tensor], NDArray[np.float32]], step: int
) -> Iterator[NDArray[np.float32]]:
    """Yield the flow (2, H, W) of every pair of frames `step` apart."""
    frames: list[torch.Tensor] = []
    for batch in batches:
        for frame in batch:
            frames.append(frame)
            if len(frames) > step:
                yield method(frames.pop(0), frame)
