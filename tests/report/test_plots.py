from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from kinema.errors import UserError
from kinema.report.plots import confusion_figure, curves_figure, draw_confusion, draw_curves
from kinema.training.task import Criterion

Row = dict[str, float]


def training_row(step: int, *, steps_per_epoch: int = 10, **changes: float) -> Row:
    row = {
        "step": step, "epoch": step / steps_per_epoch, "lr": 0.02, "loss": 1 + 1 / step, "top1": 0.5,
        "step_time": 0.2, "data_time": 0.05, "memory_gib": 1.5,
    }  # fmt: skip
    return row | changes


def validation_row(epoch: int, top1: float, mean_class: float = 0.3) -> Row:
    return {
        "step": 10 * epoch, "epoch": epoch, "loss": 3 - top1, "top1": top1, "top5": 1.0, "mean_class": mean_class,
        "videos": 8, "bad_files": 0,
    }  # fmt: skip


def run_of_ten_epochs() -> list[Row]:
    rows = []
    for step in range(1, 101):
        rows.append(training_row(step, step_time=12.3456 + step / 1000, data_time=0.00123, lr=0.02 / step))
        if step % 10 == 0:
            rows.append(validation_row(step // 10, 0.9 - abs(step / 10 - 7) / 50))
    return rows


def by_split(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    return [row for row in rows if "lr" in row], [row for row in rows if "lr" not in row]


def panel(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def drawn(figure: Figure) -> Figure:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return figure


def extents(texts: list[Text]) -> list[Bbox]:
    return [text.get_window_extent() for text in texts if text.get_text() and text.get_visible()]


def assert_apart(boxes: list[Bbox]) -> None:
    corners = np.array([box.extents for box in boxes]).reshape(-1, 4)
    starts, ends = corners[:, :2], corners[:, 2:]
    common = np.minimum(ends[:, None], ends) - np.maximum(starts[:, None], starts)
    overlaps = (common > 1).all(-1)
    assert overlaps.sum() == len(boxes), np.argwhere(overlaps)


NAN = float("nan")
DEGENERATE = {
    "no rows": [],
    "one training row": [training_row(1)],
    "one validation row": [validation_row(1, 0.5)],
    "no validation": [training_row(step) for step in (1, 2, 3)],
    "all zero": [training_row(1, loss=0, top1=0, lr=0, data_time=0), validation_row(1, 0.0, 0.0)],
    "nothing validated": [training_row(10), validation_row(1, NAN, NAN), validation_row(2, NAN, NAN)],
    "no validation loss": [{name: value for name, value in validation_row(1, 0.5).items() if name != "loss"}],
    "after a spike": [training_row(step, step_time=100 if step == 1 else 0.1) for step in range(1, 60)],
}


@pytest.mark.parametrize("rows", DEGENERATE.values(), ids=DEGENERATE)
def test_curves_of_any_run_are_drawn(rows: list[Row], tmp_path: Path) -> None:
    draw_curves(*by_split(rows), tmp_path / "new" / "curves.png")
    with Image.open(tmp_path / "new" / "curves.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 800
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["curves.png"]


def test_the_first_best_validation_is_marked() -> None:
    rows = [validation_row(epoch, top1) for epoch, top1 in ((1, 0.25), (2, 0.625), (3, NAN), (4, 0.625), (5, 0.5))]
    accuracy = panel(curves_figure(*by_split(rows)), "Accuracy")
    rings = [line for line in accuracy.lines if line.get_fillstyle() == "none"]
    assert [(*ring.get_xdata(), *ring.get_ydata()) for ring in rings] == [(2, 0.625)]
    assert accuracy.get_title(loc="right") == "best top-1 62.5% at epoch 2"


@pytest.mark.parametrize(
    ("criterion", "panel_name", "ring", "said"),
    [
        (Criterion("top1"), "Accuracy", (2, 0.6), "best top-1 60.0% at epoch 2"),
        (Criterion("mean_class"), "Accuracy", (3, 0.5), "best mean class 50.0% at epoch 3"),
        (Criterion("top5"), "Accuracy", (1, 1.0), "best top-5 100.0% at epoch 1"),
        (Criterion("loss", lower=True), "Loss", (1, 0.2), "lowest validation 0.2 at epoch 1"),
    ],
)
def test_what_selected_the_best_model_is_marked(
    criterion: Criterion, panel_name: str, ring: tuple[float, float], said: str
) -> None:
    rows = [
        validation_row(epoch, top1, mean_class) | {"loss": loss}
        for epoch, top1, mean_class, loss in ((1, 0.4, 0.3, 0.2), (2, 0.6, 0.4, 0.9), (3, 0.5, 0.5, 0.8))
    ]
    figure = curves_figure(*by_split(rows), criterion=criterion)
    rings = {
        axes.get_title(loc="left"): (*line.get_xdata(), *line.get_ydata())
        for axes in figure.axes
        for line in axes.lines
        if line.get_fillstyle() == "none"
    }
    assert rings == {panel_name: ring}
    assert panel(figure, panel_name).get_title(loc="right") == said


@pytest.mark.parametrize(
    ("metrics", "criterion", "title", "labels"),
    [
        ({"average_mAP": 0.4, "mAP@0.5": 0.5}, Criterion("average_mAP"), "Precision of detections",
         ["validation average mAP", "validation mAP@0.5"]),
        ({"AUC": 0.4, "AR@100": 0.5, "AR@1": 0.1}, Criterion("AR@1"), "Recall of proposals",
         ["validation AR@1", "validation AUC"]),
        ({"mae": 12.5}, Criterion("mae", lower=True), "mae", ["validation mae"]),
    ],
)  # fmt: skip
def test_metrics_of_other_tasks_are_drawn(metrics: Row, criterion: Criterion, title: str, labels: list[str]) -> None:
    rows = [{"step": 10 * epoch, "epoch": epoch, "loss": 1.0, **metrics} for epoch in (1, 2)]
    drawn_in = panel(curves_figure([], rows, criterion=criterion), title)
    legend = drawn_in.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == labels
    assert drawn_in.get_ylim()[1] > metrics[criterion.metric]


def test_each_row_shows_where_it_belongs() -> None:
    rows = [
        training_row(5, top1=0.2),
        validation_row(1, 0.4, 0.35),
        training_row(15, top1=0.6),
        validation_row(2, 0.8, 0.75),
    ]
    figure = curves_figure(*by_split(rows))
    lines = {line.get_label(): line.get_xydata().tolist() for line in panel(figure, "Accuracy").lines}
    assert lines["training top-1"] == [[0.5, 0.2], [1.5, 0.6]]
    assert lines["validation top-1"] == [[1, 0.4], [2, 0.8]]
    assert lines["validation mean class"] == [[1, 0.35], [2, 0.75]]
    assert {line.get_label(): line.get_xydata().tolist() for line in panel(figure, "Loss").lines} == {
        "training": [[0.5, 1.2], [1.5, 1 + 1 / 15]], "validation": [[1, 2.6], [2, 2.2]],
    }  # fmt: skip
    assert panel(figure, "Loss").get_title(loc="right") == "lowest validation 2.2 at epoch 2"
    assert len({axes.get_xlim() for axes in figure.axes}) == 1
    for axes in figure.axes:
        assert axes.get_xlim()[0] <= 0
        assert axes.get_xlim()[1] > 2


def test_seconds_per_step_are_data_below_computing() -> None:
    rows = [training_row(10, step_time=0.5, data_time=0.125), training_row(20, step_time=0.375, data_time=0.25)]
    axes = panel(curves_figure(*by_split(rows)), "Seconds per step")
    layers = {patch.get_label(): patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)}
    waiting, computing = layers["waiting for data"], layers["computing"]
    assert (waiting.values.tolist(), waiting.baseline) == ([0.125, 0.25], 0)
    assert (computing.values.tolist(), computing.baseline.tolist()) == ([0.5, 0.375], [0.125, 0.25])
    assert waiting.edges.tolist() == computing.edges.tolist() == [0, 1, 2]


def test_a_long_run_is_thinned_and_keeps_its_means_and_spikes() -> None:
    rng = np.random.default_rng(0)
    losses = rng.normal(5, 1, 200_000)
    losses[77_777] = 40.0
    rows = [training_row(step, loss=loss) for step, loss in enumerate(losses.tolist(), 1)]
    axes = panel(curves_figure(*by_split(rows)), "Loss")
    assert all(len(line.get_xdata()) < 2000 for line in axes.lines)
    fine, smooth = axes.lines
    assert fine.get_ydata().mean() == pytest.approx(losses.mean())
    assert np.abs(smooth.get_ydata() - 5).max() < np.abs(fine.get_ydata() - 5).max()
    assert smooth.get_xdata()[-1] == rows[-1]["epoch"]
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == (losses.min(), 40.0)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.floats(0, 10), min_size=41, max_size=200))
def test_the_smooth_curve_is_a_mean_over_what_lies_around(losses: list[float]) -> None:
    rows = [training_row(step, loss=loss) for step, loss in enumerate(losses, 1)]
    smooth = panel(curves_figure(*by_split(rows)), "Loss").lines[-1].get_ydata()
    for i, value in enumerate(smooth):
        reach = min(len(losses) // 40, i, len(losses) - 1 - i)
        assert value == pytest.approx(np.mean(losses[i - reach : i + reach + 1]), abs=1e-9)


def test_the_texts_of_curves_do_not_run_into_each_other() -> None:
    figure = drawn(curves_figure(*by_split(run_of_ten_epochs())))
    titles = [text for axes in figure.axes for text in axes.findobj(Text) if text.get_text() in titles_of(axes)]
    ticks = [label for axes in figure.axes for label in shown_ticks(axes)]
    boxes = extents([*titles, *ticks, *figure.texts])
    assert len(boxes) > 12
    assert_apart(boxes)
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1


def shown_ticks(axes: Axes) -> list[Text]:
    """Labels beside the panel; matplotlib also keeps some beyond its ends, and does not draw them."""
    low, high = axes.get_ylim()
    return [label for y, label in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True) if low <= y <= high]


def titles_of(axes: Axes) -> list[str]:
    return [axes.get_title(loc="left"), axes.get_title(loc="right")]


# Rows are true classes: 10 videos of walk, of which 4 are taken for run; 5 of run; none of jump.
COUNTS = [[6, 4, 0], [0, 5, 0], [0, 0, 0]]
CLASSES = ["walk", "run", "jump"]


def test_rows_of_the_matrix_are_true_classes() -> None:
    matrix = confusion_figure(torch.tensor(COUNTS), CLASSES).axes[0]
    image = matrix.images[0]
    np.testing.assert_array_equal(
        np.ma.filled(image.get_array(), np.nan), [[0.6, 0.4, 0], [0, 1, 0], [np.nan, np.nan, np.nan]]
    )
    assert "true" in matrix.get_ylabel()
    assert "predicted" in matrix.get_xlabel()
    assert [label.get_text() for label in matrix.get_xticklabels()] == CLASSES
    assert [label.get_text().split()[0] for label in matrix.get_yticklabels()] == CLASSES
    assert [label.get_text().split()[-1] for label in matrix.get_yticklabels()] == ["10", "5", "0"]
    top, bottom = matrix.transData.transform([(0, 0), (0, 2)])[:, 1]
    assert top > bottom

    cells = {(round(text.get_position()[1]), text.get_position()[0]): set[str]() for text in cell_texts(matrix)}
    for text in cell_texts(matrix):
        column, row = text.get_position()
        cells[round(row), column].add(text.get_text())
    assert cells == {(0, 0): {"60%", "6"}, (0, 1): {"40%", "4"}, (1, 1): {"100%", "5"}}


def cell_texts(matrix: Axes) -> list[Text]:
    return [text for text in matrix.texts if text.get_horizontalalignment() == "center"]


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 6).flatmap(lambda c: st.lists(st.tuples(st.integers(0, c - 1), st.integers(0, c - 1)), min_size=1))
)
def test_the_title_says_top1_and_mean_class(videos: list[tuple[int, int]]) -> None:
    classes = 1 + max(max(pair) for pair in videos)
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    for true, predicted in videos:
        confusion[true, predicted] += 1
    top1 = np.mean([true == predicted for true, predicted in videos])
    recalls = [np.mean([p == c for t, p in videos if t == c]) for c in {t for t, _ in videos}]
    texts = [text.get_text() for text in confusion_figure(confusion, list("abcdef"[:classes])).axes[0].texts]
    assert f"Top-1 {top1:.1%}   ·   mean class {np.mean(recalls):.1%}" in texts
    assert f"{len(videos)} videos, {classes} classes" in texts


def test_many_classes_are_told_by_their_most_confused_pairs() -> None:
    classes = [f"class {c:03}" for c in range(400)]
    confusion = torch.diag(torch.full((400,), 50))
    wrong = [(399, 0, 40), (0, 399, 39), *((c, (7 * c + 1) % 400, 20 - c) for c in range(1, 15))]
    for true, predicted, videos in wrong:
        confusion[true, predicted] = videos
    matrix, *_, pairs = confusion_figure(confusion, classes).axes
    assert cell_texts(matrix) == []
    assert 10 <= len(matrix.get_yticklabels()) <= 60
    assert [label.get_text() for label in matrix.get_xticklabels()][:2] == ["class 000", "class 010"]
    listed = [text.get_text() for text in pairs.texts if "→" in text.get_text()][1:]
    wrong.sort(key=lambda pair: -pair[2])
    assert listed == [f"{classes[true]}  →  {classes[predicted]}" for true, predicted, _ in wrong[:10]]
    assert [bar.get_width() for bar in pairs.patches] == [videos for *_, videos in wrong[:10]]
    assert "40 of 90, 44%" in [text.get_text() for text in pairs.texts]


@pytest.mark.parametrize("classes", [1, 3, 8, 20, 21, 60, 61, 400])
def test_the_texts_of_a_matrix_do_not_run_into_each_other(classes: int) -> None:
    rng = np.random.default_rng(classes)
    confusion = torch.from_numpy(rng.integers(0, 20_000, (classes, classes)))
    names = [f"passing American football {c} (not in game)" for c in range(classes)]
    figure = drawn(confusion_figure(confusion, names))
    matrix, *others = figure.axes
    y_labels = extents([*matrix.get_yticklabels(), matrix.yaxis.label])
    cells = extents(cell_texts(matrix))
    outside = [text for axes in others for text in (*axes.texts, *axes.get_yticklabels(), axes.yaxis.label)]
    assert_apart([*y_labels, *extents([*outside, *set(matrix.texts).difference(cell_texts(matrix))])])
    assert_apart(cells)
    side = matrix.bbox.width / classes
    assert all(box.width < side for box in cells)
    assert all(box.x1 < matrix.bbox.x0 for box in y_labels)
    # Names along the bottom are slanted: it is their distance across the line of writing that must hold a line.
    angle = np.radians(matrix.get_xticklabels()[0].get_rotation())
    apart = np.diff(matrix.get_xticks()[:2]) * side * np.sin(angle)
    assert (apart * 72 / figure.dpi > matrix.get_xticklabels()[0].get_fontsize()).all()


@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_name_of_a_class_is_drawn(tmp_path: Path) -> None:
    names = [
        "costs $5 or $6",
        "_",
        "",
        "ходьба",
        "走る",
        "مشي",
        "a\nb",
        "\udcff",
        "%",
        "x" * 300,
        "{\\frac",
        "$\\nope$",
    ]
    draw_confusion(torch.eye(len(names), dtype=torch.int64), names, tmp_path / "few.png")
    names *= 3
    draw_confusion(torch.eye(len(names), dtype=torch.int64).roll(1, 0), names, tmp_path / "many.png")
    for name in ("few.png", "many.png"):
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert 1000 < max(image.size) < 4000


def test_a_matrix_of_no_videos_is_drawn(tmp_path: Path) -> None:
    draw_confusion(torch.zeros(3, 3, dtype=torch.int64), CLASSES, tmp_path / "none.png")
    figure = confusion_figure(torch.zeros(3, 3, dtype=torch.int64), CLASSES)
    assert np.ma.getmaskarray(figure.axes[0].images[0].get_array()).all()
    assert "No videos" in [text.get_text() for text in figure.axes[0].texts]


def test_a_folder_that_cannot_be_written_is_the_users_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"curves\.png cannot be written"):
        draw_curves([], [], tmp_path / "file" / "curves.png")
    with pytest.raises(UserError, match=r"matrix\.png cannot be written"):
        draw_confusion(torch.tensor(COUNTS), CLASSES, tmp_path / "file" / "matrix.png")
