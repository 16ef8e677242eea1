"""Localization by a recognizer alone: its scores along a video, thresholded. A baseline that needs no training."""

from dataclasses import fields
from pathlib import Path

import numpy as np

from kinema.data.lists.class_folders import PACK_SUFFIX
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.timed_video import timed
from kinema.data.streams.windows import WindowSchedule
from kinema.errors import UserError
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.video.localize import Localization, origin_of
from kinema.tasks.localization.video.options import LocalizeOptions
from kinema.tasks.timeline.scorer import clip_scorer, score_video
from kinema.tasks.timeline.segments import Segment, SegmentFinder
from kinema.training.task import Predictor

_OF_LOCALIZERS = ("features", "classifier", "top_classes")
"""Options that have no meaning for a recognizer alone."""


class CurveLocalizer:
    """A recognizer whose score curves, smoothed and thresholded, are segments; a `Localizer`.

    The score of a segment is the mean smoothed score of its class.
    """

    def __init__(self, predictor: Predictor, options: LocalizeOptions) -> None:
        """Check the options against the recognizer.

        Raises:
            UserError: an option does not fit, the background is none of the classes, or the model is no recognizer of
                RGB.
        """
        self._predictor, self._scorer, self._options = predictor, clip_scorer(predictor), options
        defaults = {field.name: field.default for field in fields(LocalizeOptions)}
        for name in _OF_LOCALIZERS:
            if getattr(options, name) != defaults[name]:
                option = name.replace("_", "-")
                raise UserError(f"--{option} is for trained localizers: {predictor.folder} is a recognizer alone")
        if options.labels == "video":
            raise UserError(
                f"--labels video is for trained localizers: {predictor.folder} is a recognizer alone, whose segments "
                "are of one class each; allowed: segment, none"
            )
        self._views = self._scorer.views(options.curve.views)
        self._finder()
        self.origin = origin_of((predictor.folder,), self._views, options)
        self.classes = tuple(predictor.classes) if options.labels != "none" else ()

    def localize(self, video: str | Path) -> Localization:
        """Localize segments of a video file, or of a folder of images; see `Localizer`."""
        curve, finder = self._options.curve, self._finder()
        schedule = WindowSchedule(every=curve.every, window=curve.window)
        stream = self._scorer.open_stream(video, fps=self._options.fps)
        segments, seconds = list[Segment](), stream.seconds or 0.0
        for answer in score_video(self._scorer, stream, schedule, views=curve.views):
            segments += finder.push(answer)
            seconds = max(seconds, answer.end)
        segments += finder.finish()
        best = sorted(segments, key=lambda segment: -segment.score)[: self._options.most]
        best = [segment for segment in best if segment.score >= self._options.least_score]
        bounds = np.array([(segment.start, min(segment.end, seconds)) for segment in best], np.float64).reshape(-1, 2)
        scores = np.array([segment.score for segment in best], np.float64)
        labels = np.array([segment.label for segment in best], np.int64)
        found = Proposals(segments=bounds, scores=scores, labels=labels if self.classes else None)
        return Localization(seconds=seconds, found=found, classes=self.classes)

    def open(self, video: str | Path) -> FrameReader:
        """Open the frames of a video file, at a constant frame rate where it is local, or of a folder of images."""
        source = str(video) if Path(video).is_file() and Path(video).suffix != PACK_SUFFIX else None
        return timed(self._predictor.open(video), source).reader

    def _finder(self) -> SegmentFinder:
        curve, background = self._options.curve, self._options.background
        return SegmentFinder(curve, self._predictor.classes, every=curve.every, background=background)
