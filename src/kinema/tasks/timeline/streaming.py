"""Predictions along whatever shows a video: files, URLs, frames, live streams; of `kinema.load(MODEL).stream(…)`."""

from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from kinema.data.readers.memory import ArrayReader, FrameArray, VideoInput, content_of, is_array
from kinema.data.streams.files import FileStream, ReaderStream
from kinema.data.streams.iterable import IterableStream
from kinema.data.streams.live.address import Address, is_live, live_address, pipe_address
from kinema.data.streams.live.stream import LiveStream
from kinema.data.streams.stream import FrameStream
from kinema.data.streams.windows import WindowSchedule
from kinema.errors import UserError
from kinema.prediction import WindowPrediction
from kinema.storage import is_url
from kinema.tasks.timeline.live import LiveScorer
from kinema.tasks.timeline.options import WhichViews
from kinema.tasks.timeline.predictions import Predictions
from kinema.tasks.timeline.scorer import ScoresClips, score_stream
from kinema.urls import name_of_url

Source = VideoInput | Iterable[FrameArray]


def stream_predictions(
    predictor: ScoresClips,
    source: Source,
    schedule: WindowSchedule,
    predictions: Predictions,
    *,
    views: WhichViews = "val",
    fps: float = 0.0,
    live: bool = False,
    timeout: float = 10.0,
    patience: float = 600.0,
) -> Generator[WindowPrediction, None, None]:
    """Return an iterator over the answers along a video or a live stream; see `kinema.training.task.Predictor.stream`.

    A video is opened at once, a live stream when the first answer is asked for.
    """
    predictor.views(views)  # says whether the model takes RGB
    address = _live(source, live)
    if address is not None:
        stream = LiveStream(address, timeout=timeout, patience=patience)
        return _along_stream(LiveScorer(predictor, stream, schedule, views=views), address.name, predictions)
    recorded, name, batch = _recorded(predictor, source, fps)
    return _along_video(score_stream(predictor, recorded, schedule, views=views, batch=batch), name, predictions)


def _along_video(answers: Generator[Any], name: str, predictions: Predictions) -> Generator[WindowPrediction]:
    with closing(answers):
        for answer in answers:
            yield predictions.of(name, answer)


def _along_stream(scorer: LiveScorer, name: str, predictions: Predictions) -> Generator[WindowPrediction]:
    scorer.warm_up()
    with closing(scorer.answers()) as answers:
        for scores in answers:
            yield predictions.of(name, scores.answer, time=scores.time)


def _live(source: Any, live: bool) -> Address | None:
    """Return the address of a live stream; None for a video that can be read again.

    Raises:
        UserError: `live` is asked of what is none, or the address is not valid.
    """
    if isinstance(source, str | Path):
        text = str(source)
        return live_address(text) if live or is_live(text) else None
    if hasattr(source, "read") and not (hasattr(source, "seekable") and source.seekable()):
        return pipe_address(source)
    if live:
        raise UserError(f"live=True is for the URL of a live stream, found {type(source).__name__}")
    return None


def _recorded(predictor: ScoresClips, source: Any, fps: float) -> tuple[FrameStream, str, int]:
    """Return the frames in order, their name, and the windows of a batch, 0: as many as fill the device."""
    if isinstance(source, str | Path):
        path = str(source)
        return predictor.open_stream(path, fps=fps), name_of_url(path) if is_url(path) else path, 0
    if hasattr(source, "read"):
        if source.read(0) != b"":
            content_of(source)  # says that it is text
        name = source.name if isinstance(getattr(source, "name", None), str) else "a file in memory"
        return FileStream(source, path=name), name, 0
    if isinstance(source, bytes | bytearray | memoryview):
        return FileStream(content_of(source), path="a file in memory"), "a file in memory", 0
    if not isinstance(source, Iterable):
        content_of(source)  # says what a video is
    if not fps > 0:
        raise UserError("frames do not say how many of them there are in a second: pass fps, such as fps=25")
    if is_array(source):
        return ReaderStream(ArrayReader(source, fps=fps), fps=fps), ArrayReader.path, 0
    return IterableStream(source, fps=fps), IterableStream.path, 1
