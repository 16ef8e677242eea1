"""TEM, the temporal evaluation module of BSN (Lin et al., ECCV 2018), as a task: labels, loss and proposals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from kinema.models.bsn import TEMOutput
from kinema.tasks.localization.bsn.options import GenerationOptions
from kinema.tasks.localization.bsn.pgm import generate
from kinema.tasks.localization.data.features import FeatureData
from kinema.tasks.localization.data.labels import concatenated, covered
from kinema.tasks.localization.data.videos import Videos
from kinema.tasks.localization.localizer import LocalizerTaskOptions
from kinema.tasks.localization.losses import balanced_log_loss
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.metrics.segments import Floats
from kinema.tasks.localization.options import arrays
from kinema.tasks.localization.proposals import suppress
from kinema.tasks.localization.soft_nms import SoftNmsOptions
from kinema.training.task import Loss


@dataclass(kw_only=True)
class TEMLossOptions:
    """Weights and threshold of TEM's losses."""

    action_weight: Annotated[float, Ge(0)] = 2.0
    """Weight of the loss of actionness; those of starts and ends have 1."""
    threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Share of a part that an action, start or end must exceed for the part to be positive."""


@dataclass(kw_only=True)
class TEMTask(LocalizerTaskOptions):
    """Loss of a TEM. In validation its candidates are the proposals, scored by their boundaries alone."""

    name: ClassVar[str] = "tem"
    data_type: ClassVar[type] = FeatureData
    grid_offset: ClassVar[float] = 0.5

    boundary_ratio: Annotated[float, Gt(0)] = 0.1
    """Length of the start and end regions in the labels, as a fraction of the instance's length."""
    loss: TEMLossOptions = field(default_factory=TEMLossOptions)
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    nms: SoftNmsOptions = field(default_factory=lambda: SoftNmsOptions(alpha=0.75, low_threshold=0.65))

    def labels(self, videos: Videos, rows: Sequence[int], parts: int) -> "TEMLabels":
        """See `LocalizerOptions`."""
        instances = [videos.instances[row] for row in rows]
        return tem_labels(instances, parts=parts, boundary_ratio=self.boundary_ratio)

    def compute_loss(self, output: TEMOutput, labels: "TEMLabels") -> Loss:
        """See `LocalizerOptions`."""
        total, *parts = tem_loss(output, labels, self.loss)
        return Loss(total, dict(zip(("action", "start", "end"), parts, strict=True)))

    def decode(self, output: TEMOutput) -> Iterator[Proposals]:
        """See `LocalizerOptions`."""
        _, starts, ends = arrays(output)
        for start, end in zip(starts, ends, strict=True):
            candidates = generate(start, end, self.generation)
            yield Proposals(segments=candidates.segments, scores=candidates.scores)

    def suppress(self, candidates: Proposals, windows: int = 1) -> Proposals:
        """See `LocalizerOptions`."""
        return suppress(candidates, self.nms, windows=windows)


class TEMLabels(NamedTuple):
    """(N, T) float32 on the CPU: largest share of part t that an instance, its start, its end covers."""

    action: Tensor
    start: Tensor
    end: Tensor


class TEMLosses(NamedTuple):
    """TEM's loss and its weighted terms."""

    total: Tensor
    action: Tensor
    start: Tensor
    end: Tensor


def tem_labels(instances: Sequence[Floats], *, parts: int = 100, boundary_ratio: float = 0.1) -> TEMLabels:
    """Return the labels of TEM (Lin et al., ECCV 2018, section 3.4) for videos with `instances` (m, 2), m ≥ 0.

    A start and an end are `boundary_ratio` of the instance's length long, at least one part of the video.
    """
    first, segments = concatenated(instances)
    own = (np.arange(parts) + np.array([[0.0], [1.0]])) / parts
    starts, ends = segments.T
    reach = np.maximum(1 / parts, boundary_ratio * (ends - starts)) / 2
    action = covered(first, starts, ends, own)
    start, end = (covered(first, side - reach, side + reach, own) for side in (starts, ends))
    return TEMLabels(*map(torch.from_numpy, (action, start, end)))


def tem_loss(output: TEMOutput, labels: TEMLabels, options: TEMLossOptions) -> TEMLosses:
    """Loss of TEM (Lin et al., 2018, arXiv:1806.02964, equations 3 and 4)."""
    action, start, end = (
        balanced_log_loss(probability, label > options.threshold)
        for probability, label in zip(output, labels, strict=True)
    )
    action = options.action_weight * action
    return TEMLosses(action + start + end, action, start, end)
