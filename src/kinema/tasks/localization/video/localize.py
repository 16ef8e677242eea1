"""What happens when in a raw video: its features, segments proposed from them, and a label for each."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types as at
import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from kinema.data.features.rescaling import rescale
from kinema.data.features.spans import FeatureSpan
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.sources import FLOW
from kinema.errors import MediaError, UserError, did_you_mean
from kinema.runtime.device import RuntimeOptions
from kinema.tasks.localization.description import load_proposer
from kinema.tasks.localization.metrics.class_scores import label_proposals
from kinema.tasks.localization.metrics.results import Detections, Proposals, in_seconds
from kinema.tasks.localization.metrics.segments import Floats
from kinema.tasks.localization.proposer import Proposer
from kinema.tasks.recognition.description import read_recognizer
from kinema.tasks.recognition.features import FeatureExtractor, FeatureOptions, Singles
from kinema.tasks.recognition.predictor import open_frames
from kinema.version import __version__
from kinema.weights.model_files import digest, find_model

log = logging.getLogger(__name__)

_TOUCHES = 1e-6
"""Of a clip."""

_LONG_PART = 5.0
"""Seconds: a part of a video that is longer than this is worth a warning."""


@dataclass(frozen=True, kw_only=True)
class LocalizeOptions:
    """Where features and labels come from, and what is answered."""

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


@dataclass(frozen=True, kw_only=True)
class Localization:
    """What was found in a video of `seconds`; detections index `classes`, proposals have no label."""

    seconds: float
    found: Detections | Proposals
    classes: tuple[str, ...]


class VideoLocalizer:
    """A localizer, the recognizer that makes its features, and the one that names what it finds.

    Attributes:
        classes: names of the labels; none where segments stay without.
        origin: a digest of the models and options, which differs where answers may differ.
    """

    def __init__(self, model: Path, options: LocalizeOptions) -> None:
        """Load the models.

        Raises:
            UserError: one is missing, or they do not fit each other.
        """
        self._options = options
        self._proposer = load_proposer(model, RuntimeOptions(device=options.device, precision=options.precision))
        made_by, extraction = _extraction(self._proposer, options)
        self._features, described = FeatureExtractor(made_by, extraction), read_recognizer(made_by)
        self._classifier: FeatureExtractor | None = None
        models = [*self._proposer.folders, made_by, *([options.classifier] if options.classifier else [])]
        self.origin = _origin(models, extraction, options)
        if options.classifier is not None and find_model(options.classifier) != made_by:
            described = read_recognizer(find_model(options.classifier))
            self._classifier = FeatureExtractor(options.classifier, replace(extraction, layer="scores", window=0))
        elif extraction.layer != "features":
            self._classifier = FeatureExtractor(made_by, replace(extraction, layer="scores"))
        self.classes = described.classes if options.labels != "none" else ()
        self._data = described.data
        if options.background and options.background not in self.classes:
            raise UserError(
                f"--background {options.background} is no class of the classifier"
                f"{did_you_mean(options.background, self.classes)}; it has {', '.join(self.classes)}"
            )

    def localize(self, video: str | Path) -> Localization:
        """Find segments in a video file, or in a folder of images; in seconds, best first.

        Raises:
            MediaError: the video cannot be read, or nothing says how long it is.
            UserError: the features are not as the localizer takes them.
        """
        features = self._features.extract(str(video))
        if (span := features.span) is None:
            raise MediaError(str(video), "a folder of images does not say its frames per second: give --fps")
        proposer, data = self._proposer, self._proposer.data
        if features.values.shape[1] != proposer.channels:
            raise UserError(
                f"the localizer takes {proposer.channels} features at each point in time, {features.values.shape[1]} "
                "are made: --features names a folder of features such as it was trained on"
            )
        parts = rescale(features.values, data.parts, mode=data.rescaling)
        proposals = proposer.propose(torch.from_numpy(np.ascontiguousarray(parts.T)))
        if (shortest := (span.end - span.start) / data.parts) > _LONG_PART:
            log.warning(
                "%s: it lasts %.0f s, so that the shortest segment of a localizer of %d points is %.1f s long: for "
                "shorter ones cut the video into pieces",
                video, span.last, data.parts, shortest,
            )  # fmt: skip
        proposals = in_seconds(proposals, span)
        found: Proposals | Detections = proposals
        if self._options.labels != "none":
            found = self._labelled(proposals, self._class_scores(video, features.values), span)
        return Localization(seconds=span.last, found=_best(found, self._options), classes=self.classes)

    def open(self, video: str | Path) -> FrameReader:
        """The frames of a video file, at a constant frame rate, or of a folder of images.

        Raises:
            MediaError: it cannot be opened.
        """
        if self._data.source in FLOW:
            return open_frames(video, self._data)
        return self._features.open(str(video)).reader

    def _class_scores(self, video: str | Path, features: Singles) -> Floats:
        """Probabilities (T, classes) of clips all along the video; from their features, where these are the model's."""
        if self._classifier is not None:
            found = self._classifier.extract(str(video)).values.astype(np.float64)
        else:
            found = self._features.scores_of(features).astype(np.float64)
        if self._options.background:
            found[:, self.classes.index(self._options.background)] = 0
        return found

    def _labelled(self, proposals: Proposals, scores: Floats, span: FeatureSpan) -> Detections:
        """Give segments their labels by class scores (T, classes) of clips all along a span of the video."""
        top = self._options.top_classes
        if self._options.labels == "video":
            return label_proposals(proposals, scores.mean(axis=0), top=top)
        sums = np.concatenate([np.zeros((1, scores.shape[1])), scores.cumsum(axis=0)])
        bounds = span.fractions(proposals.segments) * len(scores)
        # A segment that touches a clip by no more than the rounding of its seconds does not see it.
        first = np.floor(bounds[:, 0] + _TOUCHES).astype(int).clip(0, len(scores) - 1)
        last = np.maximum(np.ceil(bounds[:, 1] - _TOUCHES).astype(int).clip(0, len(scores)), first + 1)
        of_segments = (sums[last] - sums[first]) / (last - first)[:, None]
        best = np.argsort(-of_segments, axis=1, kind="stable")[:, :top]
        combined = (proposals.scores[:, None] * np.take_along_axis(of_segments, best, axis=1)).reshape(-1)
        order = np.argsort(-combined, kind="stable")
        return Detections(
            segments=np.repeat(proposals.segments, best.shape[1], axis=0)[order],
            scores=combined[order],
            labels=best.reshape(-1)[order],
        )


def _origin(models: Sequence[Path], extraction: FeatureOptions, options: LocalizeOptions) -> str:
    files = [path.read_bytes() for model in models for path in sorted(find_model(model).glob("model.*"))]
    chosen = replace(options, device="auto", features=None, classifier=None)
    settings = (__version__, replace(extraction, device="auto"), chosen)
    return blake2b(b"".join(files) + repr(settings).encode(), digest_size=8).hexdigest()


def _best(found: Proposals | Detections, options: LocalizeOptions) -> Proposals | Detections:
    kept = np.flatnonzero(found.scores >= options.least_score)[: options.most]
    if isinstance(found, Detections):
        return Detections(segments=found.segments[kept], scores=found.scores[kept], labels=found.labels[kept])
    return Proposals(segments=found.segments[kept], scores=found.scores[kept])


def _extraction(proposer: Proposer, options: LocalizeOptions) -> tuple[Path, FeatureOptions]:
    """The recognizer that makes features as the localizer takes them, and how."""
    places = [str(options.features)] if options.features else list(proposer.data.features)
    if len(places) != 1:
        raise UserError(
            f"the localizer was trained on features of {len(places)} kinds side by side ({', '.join(places)}); "
            "of a raw video one kind can be made"
        )
    folder = Path(places[0])
    record = (folder.parent if folder.suffix else folder) / "features.json"
    try:
        settings: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        names = {field.name for field in fields(FeatureOptions)} & set(settings)
        made = TypeAdapter(FeatureOptions).validate_python({name: settings[name] for name in names})
        model, weights = find_model(Path(settings["model"])), str(settings["weights"])
    except FileNotFoundError:
        raise UserError(
            f"there is no {record}, which would say how the localizer's features are made: --features names a folder "
            "that `kinema prepare features` wrote with the same recognizer"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{record} is damaged, or not of `kinema prepare features`: {error}") from None
    if digest(model) != weights:
        raise UserError(f"{model} has other weights than those that made the features of {folder}")
    return model, replace(made, device=options.device, precision=options.precision, fps=options.fps or made.fps)
