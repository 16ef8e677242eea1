"""Inputs and description of exported recognizers."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kinema.data.dataset import ViewDataset, open_val_index
from kinema.data.options import ClipData
from kinema.data.samples import SampleKey
from kinema.data.views import read_views
from kinema.errors import MediaError, UserError
from kinema.tasks.recognition.predictor import open_frames
from kinema.tasks.recognition.scoring import as_clips
from kinema.tasks.recognition.settings import RecognizerDescription

log = logging.getLogger(__name__)


def random_clips(data: ClipData) -> Tensor:
    """Return two random clips (2, C, T, H, W) uint8 of the size of the test views, in channels-last memory."""
    _, frames, height, width = data.test_views.shape
    return torch.randint(256, (2, frames, height, width, data.channels), dtype=torch.uint8).movedim(-1, 1)


def preprocessing(data: ClipData) -> dict[str, Any]:
    """Return how the clips of a video are sampled and cropped."""
    views, frames, height, width = data.test_views.shape
    return {
        "layout": "N C T H W",
        "pixels": "optical flow, x and y, 0-255" if data.channels == 2 else "RGB, 0-255, normalized in the graph",
        "views": views,
        "frames": frames,
        "height": height,
        "width": width,
        "sampling": asdict(data.test_views.sampling),
        "crops": asdict(data.test_views.crops),
    }


def read_clips(path: str, data: ClipData) -> Tensor:
    """Return the test views of a video as clips (V, C, T, H, W) uint8.

    Raises:
        MediaError: it cannot be read.
    """
    return as_clips(read_views(open_frames(path, data), data.test_views)[None])


def calibration_clips(data: str, description: RecognizerDescription, *, count: int) -> Iterator[Tensor]:
    """Yield one clip (1, C, T, H, W) uint8 of each of `count` videos of a list, evenly spread over it.

    Raises:
        UserError: the list cannot be used, or no video can be read.
    """
    options = replace(description.data, val=data, val_root="", root="", folds=0, val_fraction=0.0)
    index = open_val_index(options, description.classes, labels=description.task.labels)
    videos = ViewDataset(index, options.test_views, options)
    generator, read = np.random.default_rng(0), 0
    for row in np.unique(np.linspace(0, len(index) - 1, count).astype(int)).tolist():
        try:
            views = videos.read(SampleKey(epoch=0, row=row, variant=0), generator, None).inputs
        except MediaError as error:
            log.warning("left out of the calibration: %s", error)
            continue
        read += 1
        middle = len(views) // 2
        yield as_clips(views[None, middle : middle + 1])
    if not read:
        raise UserError(f"--int8 {data}: none of its videos can be read")
