"""Options of `kinema prepare features`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import annotated_types as at
import tyro

from kinema.data.kinds import LabelMode, Source
from kinema.prepare.options import WorkOptions

Format = Literal["npy", "csv", "packed"]


@dataclass(frozen=True, kw_only=True)
class FeatureOptions:
    """Clips along a video, and the output of the model that is kept of each."""

    layer: Literal["features", "logits", "scores"] = "features"
    """features: the input of the model's last layer, averaged over space and time; logits: its output; scores: class
    probabilities."""
    stride: Annotated[int, at.Ge(1)] = 16
    """Frames from one clip to the next: the middle of clip t is frame (t + 0.5) x stride. Of a video of variable frame
    rate, these are frames at its average rate, so that clips lie at even distances in time."""
    parts: Annotated[int, at.Ge(0)] = 0
    """Number of equal parts of the video, with a clip in the middle of each, instead of --stride; 0: by --stride."""
    window: Annotated[int, at.Ge(0)] = 0
    """Frames that the segments of a clip span, for TSN and TSM; 0: 32. Other models have their recipe's clip length."""
    source: Literal["auto"] | Source = "auto"
    """Video files, folders of images or packed files of them, folders of flow images or packed files of these; auto:
    what the model was trained on."""
    fps: Annotated[float, at.Ge(0)] = 0
    """Frames per second of folders of images; 0: unknown."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto: on a GPU when there is one. Each worker process has a copy of the model there."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the model."""


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(FeatureOptions, WorkOptions):
    """Extract features of untrimmed videos with a trained recognizer, one row for each of many clips along the video.

    Writes NAME.npy or NAME.csv for each video, and NAME.json with its number of frames, fps, duration in seconds and
    stride (frames per row), from which `kinema train` and `localize` derive the time of each row. For variable frame
    rates, rows are evenly spaced in time. After an interruption, run the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.

    Example: kinema prepare features runs/tsn videos --output features --layer scores --parts 100
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Work dir of a run, one of its checkpoints, a model.safetensors, or published weights (zoo:NAME or hf:ORG/NAME),
    of RGB or flow."""
    videos: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """Videos, folders of videos at any depth, or lists, as paths or URLs; files or folders of images, see --source."""
    output: Path
    """Output folder: a new one, or that of an earlier call with the same options."""
    format: Format = "npy"
    """npy; csv: a header and a row per clip; packed: npy, and all features in features.safetensors."""
    root: str = ""
    """Folder that the paths of a list are relative to; empty: the folder of the list."""
    labels: LabelMode = "single"
    """Whether each video of a list has a single label, or any number of labels (multi: `path label label …`)."""
