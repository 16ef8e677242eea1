"""Picture and video of the scores along a video."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kinema.data.streams.stream import RecordedStream, images_at
from kinema.report.curve_video import render_curves
from kinema.report.curves import draw_curves, pooled
from kinema.report.strip import PICTURES
from kinema.tasks.timeline.scorer import Singles, WindowScores

AllAnswers = Callable[[], Iterator[WindowScores]]
"""Iterates over the answers about a video, from the first on; called several times."""


def draw_timeline(
    open_stream: Callable[[], RecordedStream],
    answers: AllAnswers,
    classes: Sequence[str],
    path: Path,
    *,
    title: str,
    font: Path | None = None,
    least: float = 0.0,
) -> None:
    """Draw the scores along a video as a PNG, with frames above; see `draw_curves`.

    Raises:
        UserError: `path` cannot be written.
        MediaError: the video cannot be read.
    """
    count, seconds = _extent(answers)
    curves = pooled(_rows(answers), count, classes)
    moments = [(number + 0.5) / PICTURES * seconds for number in range(PICTURES)]
    pictures = images_at(open_stream, moments)
    draw_curves(curves, path, seconds=seconds, pictures=pictures, title=title, font=font, least=least)


def render_timeline(
    open_stream: Callable[[], RecordedStream],
    answers: AllAnswers,
    classes: Sequence[str],
    path: Path,
    *,
    font: Path | None = None,
    least: float = 0.0,
) -> None:
    """Write the video with the scores drawn under it; see `render_curves`.

    Raises:
        UserError: `path` has another suffix or cannot be written.
        MediaError: the video cannot be read.
    """
    _, seconds = _extent(answers)
    render_curves(open_stream(), lambda: _rows(answers), classes, path, seconds=seconds, font=font, least=least)


def _extent(answers: AllAnswers) -> tuple[int, float]:
    """Return the number of answers, and the end of the last one in seconds."""
    count, seconds = 0, 0.0
    for answer in answers():
        count, seconds = count + 1, max(seconds, answer.end)
    return count, seconds


def _rows(answers: AllAnswers) -> Iterator[tuple[float, Singles]]:
    """Yield the centre of each window in seconds, at which its scores are drawn, and the scores."""
    for answer in answers():
        yield (answer.start + answer.end) / 2, answer.scores
