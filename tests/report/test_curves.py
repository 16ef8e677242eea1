"""Pictures of score curves: no text on a curve, whatever the curves."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.lines import Line2D
from matplotlib.text import Annotation

from kinema.data.streams.iterable import IterableStream
from kinema.report.curve_video import render_curves
from kinema.report.curves import MOST_ROWS, Curves, curves_figure, pooled

STEP = 0.5
LONG = "a very long name of a class with many words, such as those of captions, number {}"


def random_curves(windows: int, classes: int, *, seed: int = 0) -> Curves:
    """Curves with high and low, narrow and wide peaks, the best ones at both ends."""
    generator = np.random.default_rng(seed)
    times = np.arange(windows) * STEP + 1
    scores = generator.uniform(0, 0.1, (windows, classes))
    for label in range(min(classes, 2 * MOST_ROWS)):
        for _ in range(3):
            height, width = generator.uniform(0.1, 0.9), generator.uniform(0.2, 4)
            scores[:, label] += height * np.exp(-(((times - generator.uniform(0, times[-1])) / width) ** 2))
    scores[0, 0] = scores[-1, 1] = 1
    scores[windows // 2 :, 2 % classes] = 1
    return Curves(times=times, scores=scores.clip(0, 1).astype(np.float32), classes=[*map(LONG.format, range(classes))])


@pytest.mark.parametrize(
    ("windows", "classes", "least"),
    [
        (80, 10, 0.3),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in ((1, 2, 0), (900, 2, 0.9), (3000, 400, 0))),
    ],
)
def test_numbers_of_peaks_cross_no_curve(windows: int, classes: int, least: float) -> None:
    curves = random_curves(windows, classes)
    seconds = windows * STEP + 1
    pictures = [np.zeros((90, 60, 3), np.uint8)] * 10
    figure = curves_figure(curves, seconds, pictures, "title " * 60, least)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes = figure.axes[-1]
    numbers = [child for child in axes.get_children() if isinstance(child, Annotation)]
    drawn = [line for line in axes.get_lines() if isinstance(line, Line2D) and len(line.get_xdata()) > 2]
    assert len(numbers) == len(drawn) == min(MOST_ROWS, classes)
    expected = sorted(curves.scores.max(0).tolist(), reverse=True)
    assert [number.get_text() for number in numbers] == [f"{peak:.2f}" for peak in expected[: len(numbers)]]
    points = []
    for line in drawn:
        x, y = axes.transData.transform(line.get_xydata()).T
        across = np.arange(x[0], x[-1], 0.5)
        points.append(np.stack([across, np.interp(across, x, y)], 1))
    for number in numbers:
        box = number.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        for curve in points:
            inside = (curve >= box.min) & (curve <= box.max)
            assert not inside.all(1).any(), number.get_text()
    for text in [*axes.get_yticklabels(), figure._suptitle]:  # type: ignore[attr-defined]
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width


def test_long_curves_keep_their_peaks() -> None:
    curves = random_curves(4000, 5)
    drawn = pooled(zip(curves.times.tolist(), curves.scores, strict=True), 4000, curves.classes)
    assert len(drawn.times) <= 1500
    assert drawn.scores.max(0).tolist() == curves.scores.max(0).tolist()


def test_where_none_of_the_classes_is_probable_enough() -> None:
    times = np.arange(6) + 0.5
    scores = np.array([[0.2, 0.1], [0.9, 0.1], [0.1, 0.6], [0.5, 0.5], [0.1, 0.2], [0.1, 0.3]], np.float32)
    curves = Curves(times=times, scores=scores, classes=("a", "b"))
    assert curves.none_of_these(0.5, (0.0, 6.0)) == [(0.0, 1.0), (4.0, 2.0)]
    assert curves.none_of_these(0.0, (0.0, 6.0)) == []
    assert curves.best(8, least=0.7) == [0]


def rendered(path: Path, classes: list[str], size: tuple[int, int], least: float) -> np.ndarray:
    """The last picture of a video over the curves of `classes`."""
    curves = random_curves(20, len(classes))
    frames = [np.full((*size, 3), 90, np.uint8)] * 3
    rows = lambda: zip(curves.times.tolist(), curves.scores, strict=True)  # noqa: E731
    render_curves(IterableStream(frames, fps=0.3), rows, classes, path, seconds=11, least=least)
    with av.open(str(path)) as file:
        assert file.streams.video[0].average_rate == pytest.approx(Fraction(3, 10), abs=0.05)
        *_, last = file.decode(video=0)
        return last.to_ndarray(format="rgb24").astype(int)


@pytest.mark.parametrize(
    ("size", "least"), [((60, 80), 0.5), pytest.param((90, 40), 0, marks=pytest.mark.slow)], ids=["wide", "narrow"]
)
def test_names_in_a_video_cross_no_curve(size: tuple[int, int], least: float, tmp_path: Path) -> None:
    named = rendered(tmp_path / "named.mp4", [LONG.format(number) for number in range(7)], size, least)
    nameless = rendered(tmp_path / "nameless.mp4", [" " * number for number in range(1, 8)], size, least)
    panel = 5 * 44 + 30
    top = named.shape[0] - panel // 2 * 2
    written = np.abs(named - nameless)[top:].max(2) > 100
    assert written.sum() > 500
    assert np.abs(nameless[top:][written] - (13, 17, 26)).max() < 60
