"""`kinema predict MODEL STREAM`: along a camera, a web stream, a webcam or a pipe."""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Ge, Gt, Interval

from kinema.cli.arguments import parse
from kinema.cli.timeline import time_and_labels
from kinema.console import clock, print_json, printable, progress
from kinema.data.streams.live.address import live_address
from kinema.errors import UserError
from kinema.prediction import iso_time
from kinema.report.answers import check_suffix
from kinema.tasks.timeline.options import SegmentOptions

if TYPE_CHECKING:
    from kinema.data.streams.live.stream import LiveStream
    from kinema.tasks.timeline.events import Event, EventFinder
    from kinema.tasks.timeline.live import LiveScorer, LiveScores
    from kinema.tasks.timeline.live_file import LiveFile
    from kinema.tasks.timeline.scorer import ScoresClips

log = logging.getLogger(__name__)

_EVENT_COLUMNS = ("video", "label", "start_time", "end_time", "start", "end", "score", "peak")
_START_KEYS = ("video", "label", "start_time", "start", "peak")
_LOG_SECONDS = 60.0
"""Seconds between log lines that say that a stream is running."""


@dataclass(kw_only=True)
class Options:
    """Classify a live stream: windows along a camera, a web stream, a webcam or a pipe, as they come.

    Ends with exit code 0 at the end of the pipe and at Ctrl-C or SIGTERM, with a summary; a second Ctrl-C ends at once.
    Interruptions are waited for (--patience), then the exit code is 75. Windows that the model is too slow for are
    dropped and counted, so that answers stay recent; a pipe is read as fast as the model is instead.

    A webcam (/dev/video0) is untested.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's --work-dir, a folder of its checkpoints, a model.safetensors, published weights (zoo:NAME or
    hf:ORG/NAME), or an exported file."""
    stream: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STREAM")]
    """rtsp://…, rtsps://…, http://… or https://… (HLS, MJPEG, MPEG-TS and others), /dev/video0, or - for standard
    input. User and password of a URL are never shown."""
    live: bool = False
    """Take any http(s):// URL for a live stream; without it, those that end in .m3u8, .mjpeg or .mjpg."""
    every: Annotated[float, Gt(0), tyro.conf.arg(metavar="SECONDS")] = 0.5
    """Distance of the windows."""
    window: Annotated[float, Gt(0), tyro.conf.arg(metavar="SECONDS")] = 2.0
    """Length of a window."""
    views: Literal["val", "test"] = "val"
    """Clips and crops of a window: those of a validation video (mostly one clip, one crop) or those of a test video,
    which are several times slower."""
    top: Annotated[int, Ge(1)] = 5
    """Number of classes to print for people; --json and --output have all."""
    min_score: Annotated[float, Interval(ge=0, le=1), tyro.conf.arg(metavar="SCORE")] = 0.0
    """Leave out classes of a lower score; if none is left, the answer is "none of these", with the best score. With
    --json, lines have "predictions": [{"label", "score"}], too, where that label is null; the .csv of --output has
    columns label, empty there, and score."""
    json: bool = False
    """Print a line of JSON for each window at once: {"video", "time", "start", "end", "scores": {class: score}}; time:
    wall clock (UTC) at the window's end; start, end: seconds of the stream. With --events, for each start and end of a
    class: {"event": "end", "video", "label", "start_time", "end_time", "start", "end", "score", "peak"}; of a start,
    what is known then."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="CSV|JSONL")] = None
    """Append the same lines to a .jsonl, or rows of such columns to a .csv, where an event is one row, at its end."""
    events: bool = False
    """Print the starts and ends of classes instead of the scores of windows: segments of smoothed scores of
    --curve.low or more that reach --curve.high, as `kinema localize` finds them in files."""
    curve: SegmentOptions = field(default_factory=SegmentOptions)
    background: Annotated[str, tyro.conf.arg(metavar="CLASS")] = ""
    """Class that is no event; for --events."""
    timeout: Annotated[float, Ge(1), tyro.conf.arg(metavar="SECONDS")] = 10.0
    """Time without data or a picture after which a connection counts as interrupted; three times as long for HLS."""
    patience: Annotated[float, Ge(0), tyro.conf.arg(metavar="SECONDS")] = 600.0
    """Time for which an interrupted stream is tried again, at growing distances of up to 30 s; 0: not at all."""
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = ""
    """my_file.py:function, if the file of MODEL's own task or network has moved since training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the model; auto: a GPU if available."""


def run(arguments: Sequence[str]) -> int:
    """Classify a stream until it ends or is ended."""
    options = parse(Options, arguments, command="predict")
    _check(options)
    address = live_address(options.stream)
    if address.kind == "pipe" and sys.stdin.isatty():
        raise UserError(
            "standard input is a terminal: pipe a video into it, such as `cat x.ts | kinema predict MODEL -`"
        )
    from kinema.api import load
    from kinema.data.streams.live.stream import LiveStream
    from kinema.data.streams.windows import WindowSchedule
    from kinema.tasks.timeline.live import LiveScorer
    from kinema.tasks.timeline.scorer import clip_scorer

    schedule = WindowSchedule(every=options.every, window=options.window)
    predictor = clip_scorer(load(options.model, device=options.device, recipe=options.recipe))
    stream = LiveStream(address, timeout=options.timeout, patience=options.patience)
    scorer = LiveScorer(predictor, stream, schedule, views=options.views)
    printer = _Printer(options, address.name, predictor)
    with _output_of(options, predictor) as file, _ended_by_signals(stream.close):
        scorer.warm_up()
        try:
            _watch(scorer, printer, file)
        finally:
            if stream.counts.frames:
                log.info("%s", _summary(scorer, stream))
    if scorer.is_stuck:  # FFmpeg cannot be interrupted: its thread would delay the end until the time limit
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def _check(options: Options) -> None:
    if options.output is not None:
        check_suffix(options.output)
    for name, usual in (("curve", SegmentOptions()), ("background", "")):
        if not options.events and getattr(options, name) != usual:
            raise UserError(f"--{name} is for --events: pass --events, or leave it out")
    if options.events and options.min_score:
        raise UserError("--min-score is for the scores of windows: with --events, pass --curve.high")


def _output_of(options: Options, predictor: "ScoresClips") -> "AbstractContextManager[LiveFile | None]":
    from kinema.tasks.timeline.live_file import LiveFile

    if options.output is None:
        return nullcontext()
    best = ("label", "score") if options.min_score else ()
    columns = _EVENT_COLUMNS if options.events else ("video", "time", "start", "end", *best, *predictor.classes)
    return LiveFile(options.output, columns)


@contextmanager
def _ended_by_signals(end: Callable[[], None]) -> Iterator[None]:
    """Call `end` at the first SIGINT or SIGTERM; the second one ends the process at once."""

    def handle(_: int, __: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_DFL)
        end()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(scorer: "LiveScorer", printer: "_Printer", file: "LiveFile | None") -> None:
    """Print and write answers until the stream ends."""
    with closing(scorer.answers()) as answers, progress("windows", None, every=_LOG_SECONDS) as meter:
        for scores in answers:
            printer.show(scores, file)
            latency = 1e3 * scorer.statistics.latency(0.5)
            meter.advance(figures=f"{latency:.0f} ms latency, {scorer.dropped} dropped")
        printer.finish(file)


class _Printer:
    """Prints and writes answers or events."""

    def __init__(self, options: Options, name: str, predictor: "ScoresClips") -> None:
        from kinema.tasks.timeline.predictions import Predictions

        self._options, self._name, self._classes = options, name, predictor.classes
        self._predictions = Predictions(predictor.classes, top=options.top, min_score=options.min_score)
        self._finder = _event_finder(options, self._classes) if options.events else None

    def show(self, scores: "LiveScores", file: "LiveFile | None") -> None:
        """Print and write a window, or the events that are known with it."""
        from kinema.tasks.timeline.answer_file import best_cells

        if self._finder is not None:
            self._show_events(self._finder.push(scores), file)
            return
        answer = self._predictions.of(self._name, scores.answer, time=scores.time)
        line = answer.as_json()
        if file is not None:
            where = [line[key] for key in ("video", "time", "start", "end")]
            best = best_cells(line) if self._options.min_score else []
            file.add(line, [*where, *best, *line["scores"].values()])
        if self._options.json:
            print_json(line)
        elif file is None:
            print("  ".join([_local(scores.time), *time_and_labels(answer)]), flush=True)

    def finish(self, file: "LiveFile | None") -> None:
        """Print and write the events that end with the stream."""
        if self._finder is not None:
            self._show_events(self._finder.finish(), file)

    def _show_events(self, events: "Sequence[Event]", file: "LiveFile | None") -> None:
        for event in events:
            segment, label = event.segment, self._classes[event.segment.label]
            row: list[object] = [self._name, label, iso_time(event.start_time), iso_time(event.end_time)]
            row += [_rounded(x) for x in (segment.start, segment.end, segment.score, segment.peak)]
            values = dict(zip(_EVENT_COLUMNS, row, strict=True))
            keys = _EVENT_COLUMNS if event.kind == "end" else _START_KEYS
            line = {"event": event.kind, **{key: values[key] for key in keys}}
            if file is not None and (event.kind == "end" or not file.is_csv):
                file.add(line, row)
            if self._options.json:
                print_json(line)
            elif file is None:
                time = event.start_time if event.kind == "start" else event.end_time
                lasted = f" after {segment.end - segment.start:.1f} s" if event.kind == "end" else ""
                stream_time = clock(segment.start if event.kind == "start" else segment.end)
                text = f"{printable(label)} {event.kind}s{lasted}  {segment.peak:.3f}"
                print("  ".join([_local(time), stream_time, text]), flush=True)


def _event_finder(options: Options, classes: Sequence[str]) -> "EventFinder":
    from kinema.tasks.timeline.events import EventFinder

    return EventFinder(options.curve, classes, every=options.every, background=options.background)


def _summary(scorer: "LiveScorer", stream: "LiveStream") -> str:
    """What happened, in one line."""
    statistics, counts = scorer.statistics, stream.counts
    elapsed = max(scorer.elapsed, 1e-9)
    parts = [
        f"{statistics.windows} answers in {elapsed:.1f} s",
        f"{scorer.dropped} windows dropped",
        f"{counts.reconnections} reconnections",
        f"{counts.frames} frames ({counts.frames / elapsed:.1f}/s)",
        f"latency {1e3 * statistics.latency(0.5):.0f} ms (median), {1e3 * statistics.latency(0.95):.0f} ms (95 %)",
        f"{stream.position / elapsed:.2f} x real time",
        f"network busy {scorer.busy / elapsed:.0%}",
    ]
    for count, text in ((counts.damaged, "damaged packets"), (counts.jumps, "jumps of the time stamps")):
        if count:
            parts.append(f"{count} {text}")
    return f"{stream.path}: {', '.join(parts)}"


def _local(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")


def _rounded(value: float) -> float:
    return round(value, 3)
