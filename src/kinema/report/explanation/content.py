"""What an explanation of a video's prediction holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kinema.data.crops import Box
from kinema.data.readers.reader import FrameReader
from kinema.prediction import Prediction

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Part of a video from `start` to `end`, in seconds.

    score: Probability of the class where this part is hidden; None: the network sees no frame of it.
    """

    start: float
    end: float
    score: float | None


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Where and when a class was recognized in a video.

    Attributes:
        video: Path.
        label: The class that is explained.
        score: Its probability.
        predictions: The best classes.
        method: Of `heat`.
        heat: (frames, H', W') of every frame of the video, 0 to 1, over the box.
        box: Part of a frame that the network sees, in pixels.
        times: (frames + 1,) seconds at which frames are shown, and the end of the last.
        parts: What hiding parts of the video does to the score.
        reader: Frames of the video.
    """

    video: str
    label: str
    score: float
    predictions: tuple[Prediction, ...]
    method: str
    heat: Floats
    box: Box
    times: Floats
    parts: tuple[Part, ...]
    reader: FrameReader

    def as_json(self) -> dict[str, Any]:
        """Return the numbers: `drop` is what the class loses when a part is hidden; `heat` is a frame's mean."""
        return {
            "video": self.video,
            "label": self.label,
            "score": self.score,
            "predictions": [{"label": one.label, "score": one.score} for one in self.predictions],
            "method": self.method,
            "parts": [
                {
                    "start": part.start,
                    "end": part.end,
                    "score": part.score,
                    "drop": None if part.score is None else self.score - part.score,
                }
                for part in self.parts
            ],
            "frames": [
                {"time": float(time), "heat": float(heat)}
                for time, heat in zip(self.times, self.heat.mean(axis=(1, 2)), strict=False)
            ],
        }


@runtime_checkable
class Explains(Protocol):
    """A predictor that explains its predictions."""

    def explain(self, video: str | Path, *, label: str = "", parts: int = 16) -> Explanation:
        """Explain why a video shows a class.

        Args:
            video: File or folder of images.
            label: Name of the class; empty: the most probable one.
            parts: Equal parts of the video that are hidden in turn.

        Raises:
            MediaError: The video cannot be read.
            UserError: There is no such class, or the network lacks a capability.
        """
