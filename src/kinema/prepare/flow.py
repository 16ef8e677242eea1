"""`kinema prepare flow`: optical flow as pairs of gray JPEGs, horizontal and vertical."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import annotated_types as at
import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray

from kinema.data.lists.index import MediaKind
from kinema.data.readers.sources import Opener
from kinema.prepare.convert import VideoOptions, convert_videos
from kinema.prepare.flow_methods import Method, flow_method
from kinema.prepare.frames import read_all
from kinema.prepare.lists import write_list
from kinema.prepare.work.jobs import Summary, Unit
from kinema.storage import Direct, replacing_folder


@dataclass(frozen=True, kw_only=True)
class FlowOptions(VideoOptions):
    """Compute optical flow of videos: one folder per video with flow_x_00001.jpg, flow_y_00001.jpg, ….

    The pair n is the flow from frame n to frame n + --step. Gray 128 is no motion, 0 and 255 are --bound pixels to the
    left (up) and to the right (down). A folder appears with all its images or not at all; after an interruption, run
    the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """

    method: Method = "tvl1"
    """tvl1: TV-L1 on the CPU (needs the extra `flow`); raft_large, raft_small: RAFT, preferably on a GPU."""
    kind: MediaKind = "video"
    """Kind of videos: files, folders of images (rawframes), or packed files of images."""
    bound: Annotated[float, at.Gt(0)] = 20.0
    """Displacement in pixels that maps to gray 255 (its negative to 0); larger displacements are clipped."""
    step: Annotated[int, at.Ge(1)] = 1
    """Distance in frames between the two frames of a pair; a pair starts at every frame."""
    short_side: Annotated[int, at.Ge(0)] = 256
    """Length of the shorter side of the images in pixels; 0: the original size."""
    quality: Annotated[int, at.Interval(ge=1, le=100)] = 95
    """JPEG quality."""
    weights: str = ""
    """File of RAFT weights (.pth or .safetensors); empty: those of torchvision, downloaded once."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for RAFT; auto: a GPU if there is one."""


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
