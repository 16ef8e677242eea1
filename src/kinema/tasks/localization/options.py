"""What localizers minimise, and how what they say becomes proposals."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Gt

from kinema.tasks.localization.generation.pgm import CandidateOptions, GenerationOptions
from kinema.tasks.localization.generation.soft_nms import SoftNmsOptions
from kinema.tasks.localization.losses import BMNLossOptions, PEMLossOptions, TEMLossOptions


@dataclass(kw_only=True)
class BMNTask:
    """How a BMN is trained, and how its proposals are chosen."""

    loss: BMNLossOptions = field(default_factory=BMNLossOptions)
    nms: SoftNmsOptions = field(default_factory=SoftNmsOptions)


@dataclass(kw_only=True)
class TEMTask:
    """How a TEM is trained. Its validation takes every pair of a possible start and end as a proposal."""

    boundary_ratio: Annotated[float, Gt(0)] = 0.1
    """Length of an instance's start and end in the labels, over the instance's own."""
    loss: TEMLossOptions = field(default_factory=TEMLossOptions)
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    nms: SoftNmsOptions = field(default_factory=lambda: SoftNmsOptions(alpha=0.75, low_threshold=0.65))


@dataclass(kw_only=True)
class PEMTask:
    """How a PEM is trained, and how the proposals that it judges are chosen."""

    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    """How the candidates were made that it is trained on, and are of a video that it is asked about."""
    loss: PEMLossOptions = field(default_factory=PEMLossOptions)
    nms: SoftNmsOptions = field(default_factory=lambda: SoftNmsOptions(alpha=0.75, low_threshold=0.65))


LocalizationTask = BMNTask | TEMTask | PEMTask


def grid_offset(task: LocalizationTask) -> float:
    """Where in a part of the video the segments of a localizer start and end: at its start (BMN), or in its middle."""
    return 0.0 if isinstance(task, BMNTask) else 0.5
