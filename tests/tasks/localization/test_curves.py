"""`kinema localize` with a recognizer alone: its score curves, thresholded."""

import json
from pathlib import Path

import pytest

import kinema
from kinema.api import load_localizer
from kinema.cli import main
from kinema.data.streams.windows import WindowSchedule
from kinema.errors import UserError
from kinema.tasks.localization.video.options import LocalizeOptions
from kinema.tasks.timeline.options import CurveOptions
from kinema.tasks.timeline.scorer import clip_scorer, score_video
from kinema.tasks.timeline.segments import find_segments
from tests.tasks.timeline.conftest import long_video

__all__ = ["long_video"]

CURVE = CurveOptions(every=0.2, window=0.8, high=0.127, low=0.125)
FLAGS = ["--curve.every", "0.2", "--curve.window", "0.8", "--curve.high", "0.127", "--curve.low", "0.125"]


def test_answers_are_the_segments_of_the_curves(
    tiny_run: Path, long_video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = clip_scorer(kinema.load(tiny_run))
    answers = list(score_video(model, model.open_stream(long_video), WindowSchedule(every=0.2, window=0.8)))
    expected = find_segments(answers, CURVE, model.classes, every=0.2)
    assert len(expected) > 3, "the test's own video"
    command = ["localize", str(tiny_run), str(long_video), *FLAGS, "--json", "--output", str(tmp_path / "a.json")]
    assert main([*command, "--plot", str(tmp_path / "a.png"), "--most", "3"]) == 0
    layout = json.loads(capsys.readouterr().out)
    assert set(layout) == {"version", "results", "external_data"}
    [rows] = layout["results"].values()
    assert [row["label"] for row in rows] == [model.classes[one.label] for one in expected[:3]]
    for row, one in zip(rows, expected, strict=False):
        assert row["segment"] == pytest.approx([one.start, min(one.end, answers[-1].end)], abs=1e-3)
        assert row["score"] == pytest.approx(one.score, abs=1e-4)
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "a.json").read_text())["results"] == layout["results"]


def test_background_and_least_score(tiny_run: Path, long_video: Path) -> None:
    found = load_localizer(tiny_run, LocalizeOptions(curve=CURVE)).localize(long_video)
    assert found.found.labels is not None
    best = found.classes[found.found.labels[0]]
    without = load_localizer(tiny_run, LocalizeOptions(curve=CURVE, background=best)).localize(long_video)
    assert without.found.labels is not None
    assert best not in {without.classes[label] for label in without.found.labels}
    middle = float(found.found.scores[len(found.found.scores) // 2])
    fewer = load_localizer(tiny_run, LocalizeOptions(curve=CURVE, least_score=middle)).localize(long_video)
    assert fewer.found.scores.tolist() == [score for score in found.found.scores.tolist() if score >= middle]
    nameless = load_localizer(tiny_run, LocalizeOptions(curve=CURVE, labels="none")).localize(long_video)
    assert nameless.found.labels is None
    assert nameless.found.segments.tolist() == found.found.segments.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": "nothing"}, "--background nothing is no class of the model"),
        ({"labels": "video"}, "--labels video is for trained localizers"),
        ({"features": Path("features")}, "--features is for trained localizers"),
        ({"top_classes": 2}, "--top-classes is for trained localizers"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, object], message: str, tiny_run: Path) -> None:
    with pytest.raises(UserError, match=message):
        load_localizer(tiny_run, LocalizeOptions(**options))  # type: ignore[arg-type]


def test_origins_differ_where_answers_may(tiny_run: Path) -> None:
    options = [LocalizeOptions(), LocalizeOptions(curve=CURVE), LocalizeOptions(most=3)]
    assert len({load_localizer(tiny_run, one).origin for one in options}) == 3
    assert len({load_localizer(tiny_run, LocalizeOptions()).origin for _ in range(2)}) == 1
