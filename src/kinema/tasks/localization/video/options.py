"""Options of the localization of raw videos."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import annotated_types as at

from kinema.tasks.timeline.options import CurveOptions


@dataclass(frozen=True, kw_only=True)
class LocalizeOptions:
    """Options of the localization of raw videos."""

    features: Path | None = None
    """A folder that `kinema prepare features` wrote: features are made as these were. When not given, as those that the
    localizer was trained on."""
    classifier: Path | None = None
    """A recognizer whose classes are the labels. When not given, the one that features are made with."""
    labels: Literal["segment", "video", "none"] = "segment"
    """segment: each segment is labelled by what the classifier sees in it; video: by what it sees in the whole video,
    as papers on ActivityNet do; none: segments stay without labels."""
    background: str = ""
    """A class of the classifier that stands for nothing of interest, and is never a label."""
    top_classes: Annotated[int, at.Ge(1)] = 1
    """Labels that a segment gets, each as an answer of its own."""
    most: Annotated[int, at.Ge(1)] = 20
    """Segments to answer with at most, the best ones."""
    least_score: Annotated[float, at.Interval(ge=0, le=1)] = 0.0
    """Segments of a lower score are left out."""
    fps: Annotated[float, at.Ge(0)] = 0.0
    """Frames per second of folders of images, which do not say it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the models run; auto: on a GPU when there is one."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the models."""
    curve: CurveOptions = field(default_factory=CurveOptions)
    """Of a recognizer alone: its scores along the video, and the segments that they show."""
