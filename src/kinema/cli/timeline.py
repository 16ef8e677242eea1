"""`kinema predict MODEL VIDEO… --every SECONDS`."""

import logging
from collections.abc import Generator
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from kinema.cli.arguments import OPTION_NAMES
from kinema.console import clock, print_json, printable, progress
from kinema.errors import MediaError, renamed_options
from kinema.prediction import WindowPrediction
from kinema.storage import display_name

if TYPE_CHECKING:
    from kinema.data.lists.inputs import Input
    from kinema.data.streams.stream import RecordedStream
    from kinema.data.streams.windows import WindowSchedule
    from kinema.tasks.timeline.answer_file import TimelineFile
    from kinema.tasks.timeline.options import WhichViews
    from kinema.tasks.timeline.pictures import AllAnswers
    from kinema.tasks.timeline.predictions import Predictions
    from kinema.tasks.timeline.scorer import ScoresClips, Statistics, WindowScores
    from kinema.tasks.timeline.spool import Spool

log = logging.getLogger(__name__)

_LEAST_SCORE = 0.01  # printed after the best label


class TimelineOptions(Protocol):
    """Options of `kinema predict` that timelines use."""

    model: Path
    videos: tuple[str, ...]
    top: int
    min_score: float
    every: float | None
    window: float
    views: "WhichViews"
    json: bool
    output: Path | None
    timeline: Path | None
    render: Path | None
    fps: float
    font: Path | None
    recipe: str
    device: Literal["auto", "cpu", "cuda"]


def run_timelines(options: TimelineOptions) -> int:
    """Classify windows along videos, and print, write and draw the scores."""
    from kinema.api import load
    from kinema.data.lists.inputs import find_inputs, output_files
    from kinema.data.streams.windows import WindowSchedule
    from kinema.report.fonts import check_font, say_missing
    from kinema.report.render import SUFFIXES
    from kinema.tasks.timeline.answer_file import TimelineFile, origin_of
    from kinema.tasks.timeline.predictions import Predictions
    from kinema.tasks.timeline.scorer import Statistics, clip_scorer
    from kinema.weights.find import find_model

    assert options.every is not None
    schedule = WindowSchedule(every=options.every, window=options.window)
    check_font(options.font)
    find_model(options.model)  # says what is wrong before folders are searched
    inputs = find_inputs(options.videos)
    pictures = output_files(inputs, options.timeline, (".png",), option="--timeline")
    renders = output_files(inputs, options.render, SUFFIXES, option="--render")
    predictor = clip_scorer(load(options.model, device=options.device, recipe=options.recipe))
    predictor.views(options.views)  # says whether the model takes RGB
    if pictures or renders:
        say_missing(predictor.classes, options.font)
    predictions = Predictions(predictor.classes, top=options.top, min_score=options.min_score)
    file: AbstractContextManager[TimelineFile | None] = nullcontext()
    if options.output is not None:
        origin = origin_of(predictor, schedule, options.views, options.fps)
        file = TimelineFile(options.output, predictions, schedule=schedule, origin=origin)
    failed, statistics = 0, Statistics()
    with file as kept:
        run = _Run(predictor, schedule, options, predictions, kept, statistics, named=len(inputs) > 1)
        for video in inputs:
            try:
                run.answer(video, pictures.get(video), renders.get(video))
            except MediaError as error:
                failed += 1
                log.error("cannot be read: %s", renamed_options(str(error), OPTION_NAMES["predict"]))
    if statistics.windows:
        log.info("%s", statistics)
    return 2 if failed else 0


class _Run:
    """Answers about videos in turn."""

    def __init__(
        self, predictor: "ScoresClips", schedule: "WindowSchedule", options: TimelineOptions,
        predictions: "Predictions", kept: "TimelineFile | None", statistics: "Statistics", *, named: bool,
    ) -> None:  # fmt: skip
        self._predictor, self._schedule, self._options, self._predictions = predictor, schedule, options, predictions
        self._kept, self._statistics, self._named = kept, statistics, named

    def answer(self, video: "Input", picture: Path | None, render: Path | None) -> None:
        """Score the windows of a video that the output file does not have; print, write and draw.

        Raises:
            MediaError: the video cannot be read.
        """
        from kinema.tasks.timeline.pictures import draw_timeline, render_timeline
        from kinema.tasks.timeline.spool import Spool

        before = self._statistics.windows
        with Spool(len(self._predictor.classes)) as spool, closing(self._answers(video)) as answers:
            for answer in answers:
                if self._options.json:
                    print_json(self._predictions.of(video.shown, answer).as_json())
                elif self._kept is None:
                    print(self._text(self._predictions.of(video.shown, answer)), flush=True)
                if self._kept is None and (picture or render):
                    spool.add(answer)
            is_new = self._statistics.windows > before
            stream, all_answers = partial(self._stream, video.path), self._all_answers(video.shown, spool)
            classes, font, least = self._predictor.classes, self._options.font, self._options.min_score
            if picture is not None and (is_new or not picture.exists()):
                title = printable(display_name(video.path))
                draw_timeline(stream, all_answers, classes, picture, title=title, font=font, least=least)
            if render is not None and (is_new or not render.exists()):
                render_timeline(stream, all_answers, classes, render, font=font, least=least)
                log.info("rendered: %s", render)

    def _all_answers(self, video: str, spool: "Spool") -> "AllAnswers":
        """Return what iterates over all answers about a video, those of earlier runs included."""
        return spool.answers if self._kept is None else partial(self._kept.answers, video)

    def _stream(self, video: str) -> "RecordedStream":
        return self._predictor.open_stream(video, fps=self._options.fps)

    def _answers(self, video: "Input") -> "Generator[WindowScores]":
        """Yield the new answers of a video, each after it has been written to the output file."""
        from kinema.tasks.timeline.scorer import score_video

        known = 0 if self._kept is None else self._kept.known[video.shown]
        if known:
            log.info("%s: continued after %d windows", printable(video.shown), known)
        stream = self._stream(video.path)
        total = None if stream.seconds is None else max(self._schedule.count(stream.seconds), known)
        answers = score_video(self._predictor, stream, self._schedule, views=self._options.views, known=known)
        with closing(answers), progress("predicting", total, done=known) as meter:
            for answer in answers:
                self._statistics.add(answer)
                if self._kept is not None:
                    self._kept.add(video.shown, [answer])
                yield answer
                meter.advance()

    def _text(self, answer: WindowPrediction) -> str:
        """An answer as a line for people: time and best labels."""
        where = [printable(answer.video)] if self._named else []
        return "  ".join([*where, *time_and_labels(answer)])


def time_and_labels(answer: WindowPrediction) -> list[str]:
    """Return the span of a window, and its best labels with their scores, for people."""
    labels = [
        f"{printable(one.text)} {one.score:.3f}"
        for number, one in enumerate(answer.predictions)
        if not number or one.score >= _LEAST_SCORE
    ]
    return [f"{clock(answer.start)} – {clock(answer.end)}", *labels]
