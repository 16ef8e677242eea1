"""Picture of the scores along a video."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kinema.data.streams.stream import RecordedStream, images_at
from kinema.report.curves import draw_curves, pooled
from kinema.tasks.timeline.scorer import WindowScores

AllAnswers = Callable[[], Iterator[WindowScores]]
"""Iterates over the answers about a video, from the first on; called several times."""

_PICTURES = 10


def draw_timeline(
    open_stream: Callable[[], RecordedStream],
    answers: AllAnswers,
    classes: Sequence[str],
    path: Path,
    *,
    title: str,
    font: Path | None = None,
) -> None:
    """Draw the scores along a video as a PNG, with frames above; see `draw_curves`.

    Raises:
        UserError: `path` cannot be written.
        MediaError: the video cannot be read.
    """
    count, seconds = 0, 0.0
    for answer in answers():
        count, seconds = count + 1, max(seconds, answer.end)
    curves = pooled(((centre(answer), answer.scores) for answer in answers()), count, classes)
    moments = [(number + 0.5) / _PICTURES * seconds for number in range(_PICTURES)]
    pictures = images_at(open_stream, moments)
    draw_curves(curves, path, seconds=seconds, pictures=pictures, title=title, font=font)


def centre(answer: WindowScores) -> float:
    """Return the centre of a window in seconds, at which its scores are drawn."""
    return (answer.start + answer.end) / 2
