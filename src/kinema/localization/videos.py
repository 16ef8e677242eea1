"""The videos of a ground truth as localizers are trained and measured on them."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema.errors import UserError
from kinema.localization.annotations import Floats, GroundTruth, read_ground_truth

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Videos:
    """Videos with the instances in them.

    truth: as the file has it, in seconds. instances: of each video (m, 2) start and end as fractions of it, m ≥ 0,
    without ambiguous ones.
    """

    truth: GroundTruth
    instances: tuple[Floats, ...]

    def __len__(self) -> int:
        return len(self.truth.videos)

    def name(self, row: int) -> str:
        """The name of a video."""
        return self.truth.videos[row]

    def seconds(self, row: int) -> float:
        """The length of a video."""
        return float(self.truth.durations[row])


def read_videos(path: str, subset: str) -> Videos:
    """The videos of a subset. What reaches beyond a video is cut off; what lies outside it is left out, and counted.

    Raises:
        UserError: the file is faulty, or does not say how long a video is, or no video has an instance.
    """
    truth = read_ground_truth(Path(path), subset=subset)
    if unknown := [name for name, seconds in zip(truth.videos, truth.durations, strict=True) if not seconds > 0]:
        raise UserError(f"{path}: video {unknown[0]} has no duration in seconds")
    fractions = (truth.segments / truth.durations[truth.video, None]).clip(0, 1)
    wanted, inside = truth.label >= 0, fractions[:, 1] > fractions[:, 0]
    if outside := int((wanted & ~inside).sum()):
        log.warning("%s: %d instances lie outside their video, or have no length, and are left out", path, outside)
    if not (kept := wanted & inside).any():
        raise UserError(f"{path}: no video of the subset '{subset}' has an instance")
    order = np.argsort(truth.video[kept], kind="stable")
    counts = np.bincount(truth.video[kept], minlength=len(truth.videos))
    return Videos(truth=truth, instances=tuple(np.split(fractions[kept][order], np.cumsum(counts)[:-1])))
