"""Features and class scores of raw videos, as a localizer was trained on."""

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from kinema.data.kinds import FLOW
from kinema.data.readers.reader import FrameReader
from kinema.errors import UserError
from kinema.tasks.recognition.description import read_recognizer
from kinema.tasks.recognition.features.extraction import FeatureExtractor, FeatureStream, Singles
from kinema.tasks.recognition.features.options import FeatureOptions
from kinema.tasks.recognition.predictor import open_frames
from kinema.weights.find import find_model
from kinema.weights.model_files import digest

Floats = NDArray[np.float64]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "bf16", "fp16"]


class RecognizerEncoder:
    """Features of raw videos as those of a folder were extracted, and class scores along them.

    See `kinema.tasks.localization.video.localize.VideoEncoder`.
    """

    def __init__(
        self, features: Path, classifier: Path | None, *, device: Device, precision: Precision, fps: float
    ) -> None:
        """Load the models.

        Args:
            features: a folder that `kinema prepare features` wrote, or its packed file.
            classifier: recognizer that scores the classes; None: the one of the features.
            device: device of both models.
            precision: arithmetic of both models.
            fps: frames per second of folders of images; 0: as of the features.

        Raises:
            UserError: a model is missing, or has other weights than those that extracted the features.
        """
        extractor, made = _extraction(features)
        options = replace(made, device=device, precision=precision, fps=fps or made.fps)
        self._features, described = FeatureExtractor(extractor, options), read_recognizer(extractor)
        self._classifier: FeatureExtractor | None = None
        self.folders = (extractor, *([find_model(classifier)] if classifier else []))
        self.settings = replace(options, device="auto")
        if classifier is not None and find_model(classifier) != extractor:
            described = read_recognizer(find_model(classifier))
            self._classifier = FeatureExtractor(classifier, replace(options, layer="scores", window=0))
        elif options.layer != "features":
            self._classifier = FeatureExtractor(extractor, replace(options, layer="scores"))
        self.classes = described.classes
        self._data = described.data

    def extract(self, video: str | Path, *, scores: bool) -> FeatureStream[tuple[Singles, Floats | None]]:
        """Extract the features of a video file or a folder of images, block by block.

        With `scores`, a block of features (n, C) comes with the probabilities (n, classes) that the classifier gives
        its clips.
        """
        if scores and self._classifier is not None:
            both = self._features.stream_beside(self._classifier, str(video))
            pairs: Iterator[tuple[Singles, Floats | None]] = ((one, two.astype(np.float64)) for one, two in both.blocks)
            return FeatureStream(rows=both.rows, span=both.span, blocks=pairs)
        alone = self._features.stream(str(video))
        pairs = ((block, self._scores_of(block) if scores else None) for block in alone.blocks)
        return FeatureStream(rows=alone.rows, span=alone.span, blocks=pairs)

    def _scores_of(self, features: Singles) -> Floats:
        return self._features.scores_of(features).astype(np.float64)

    def open(self, video: str | Path) -> FrameReader:
        """Open the frames of a video file, at a constant frame rate, or of a folder of images."""
        if self._data.source in FLOW:
            return open_frames(video, self._data)
        return self._features.open(str(video)).reader


def _extraction(features: Path) -> tuple[Path, FeatureOptions]:
    """Return the folder of the recognizer that extracted features, and the options of the extraction."""
    record = (features.parent if features.suffix else features) / "features.json"
    try:
        settings: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        names = {field.name for field in fields(FeatureOptions)} & set(settings)
        options = TypeAdapter(FeatureOptions).validate_python({name: settings[name] for name in names})
        model, weights = find_model(settings["model"]), str(settings["weights"])
    except FileNotFoundError:
        raise UserError(
            f"there is no {record}, which records how the localizer's features are extracted: pass --features, a "
            "folder that `kinema prepare features` wrote with the same recognizer"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{record} is damaged, or not of `kinema prepare features`: {error}") from None
    if digest(model) != weights:
        raise UserError(f"{model} has other weights than those that extracted the features of {features}")
    return model, options
