"""The report as a page: complete, self-contained, accessible, in real Chromium."""

import json
import math
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinema.cli import main
from kinema.report.page.charts import ticks
from kinema.report.page.content import (
    Clip,
    Clips,
    Column,
    Figures,
    LineChart,
    Matrix,
    Note,
    Reliability,
    Section,
    Series,
    Table,
)
from kinema.report.page.html import Group, Page, render
from kinema.report.page.runs import differences, read_runs
from kinema.tasks.recognition.reporting import class_table
from tests.report.chromium import CONTRASTS, FAULTS, opened


@pytest.fixture(scope="module")
def reported(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page on a tested run."""
    scores = tiny_run / "test" / "scores.npz"
    assert main(["test", str(tiny_run), "--dump", str(scores), "--data.workers", "0"]) == 0
    page = tmp_path_factory.mktemp("report") / "report.html"
    assert main(["report", str(tiny_run), "--output", str(page), "--clips", "3"]) == 0
    return page


@pytest.fixture(scope="module")
def extreme(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with 2, 8 and 400 classes of long names in several scripts, and every kind of block."""
    groups = [Group(title="長い実行の名前/" + "long_run_name_" * 6, sections=_sections(n)) for n in (2, 8, 400)]
    page = tmp_path_factory.mktemp("extreme") / "report.html"
    text = render(Page(title="<script>alert(1)</script>", subtitle="s" * 200, groups=groups, footer="f"))
    page.write_text(text, encoding="utf-8")
    return page


def _sections(count: int) -> list[Section]:
    rng = np.random.default_rng(count)
    names = [
        f"{i} {['乒乓球正手攻球', 'playing_the_accordion_while_riding_a_unicycle', 'x'][i % 3]}" for i in range(count)
    ]
    confusion = rng.integers(0, 3, (count, count)) * (rng.random((count, count)) < 0.05) + 9 * np.eye(count, dtype=int)
    x = list(range(1, 500))
    curves = [Series(name=f"{name} {'y' * 40}", x=x, y=[1 / (i + k) for i in x]) for k, name in enumerate("abcdefgh")]
    table = class_table(confusion, names)
    chart = LineChart(title="Loss", x_name="epoch", series=curves)
    bins = Reliability(title="R", count=[0, 5], confidence=[math.nan, 0.7], accuracy=[math.nan, 0.9])
    clips = Clips(clips=[Clip(name="n" * 120, preview=None, facts=[("true", "t" * 80)], fault="no such file")])
    command = "kinema test " + "runs/" * 40
    return [
        Section(title="One", blocks=[Figures(values=[("top-1", "12.3%")] * 5), Note(text="Run:", command=command)]),
        Section(title="Two", lead="Lead.", blocks=[chart, bins, table, Matrix(counts=confusion, classes=names), clips]),
    ]


@pytest.mark.parametrize(
    ("name", "width", "dark"),
    [
        ("reported", 390, False),
        ("reported", 1280, True),
        pytest.param("extreme", 390, True, marks=pytest.mark.slow),
        pytest.param("extreme", 1280, False, marks=pytest.mark.slow),
    ],
)
def test_accessible_and_without_overflow(
    chromium: Any, request: pytest.FixtureRequest, name: str, width: int, dark: bool
) -> None:
    file: Path = request.getfixturevalue(name)
    with opened(chromium, file, width=width, dark=dark) as shown:
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.page.evaluate(CONTRASTS) == []
        assert shown.page.evaluate(FAULTS) == []
        assert shown.messages == []
        assert shown.requests == []


def test_columns_sort_by_keyboard(chromium: Any, reported: Path) -> None:
    with opened(chromium, reported) as shown:
        table = shown.page.locator("table", has=shown.page.locator("caption:has-text('Metrics by class')"))
        button = table.get_by_role("button", name="recall")
        head = table.locator("thead th:nth-child(5)")
        button.focus()
        for state, expected in (("descending", True), ("ascending", False)):
            shown.page.keyboard.press("Enter")
            assert head.get_attribute("aria-sort") == state
            recall = [float(text.rstrip("%")) for text in table.locator("tbody td:nth-child(5)").all_text_contents()]
            assert recall == sorted(recall, reverse=expected)
        table.get_by_role("button", name="class").press("Space")
        names = table.locator("tbody th").all_text_contents()
        assert names == sorted(names)
        assert head.get_attribute("aria-sort") is None


def test_undefined_values_come_last(chromium: Any, tmp_path: Path) -> None:
    columns = [Column(name="class"), Column(name="recall", style="percent")]
    table = Table(caption="T", columns=columns, rows=[["a", None], ["b", 0.5], ["c", 0.9], ["d", math.nan]])
    page = Page(
        title="t", subtitle="", groups=[Group(title="g", sections=[Section(title="s", blocks=[table])])], footer=""
    )
    file = tmp_path / "page.html"
    file.write_text(render(page))
    with opened(chromium, file) as shown:
        for expected in (["c", "b"], ["b", "c"]):
            shown.page.get_by_role("button", name="recall").click()
            assert shown.page.locator("tbody th").all_text_contents()[:2] == expected


def test_videos_play(chromium: Any, reported: Path) -> None:
    with opened(chromium, reported) as shown:
        played = shown.page.evaluate(
            """async () => {
              const videos = [...document.querySelectorAll("video")];
              await Promise.all(videos.map((v) => v.readyState >= 2 || new Promise((done, fail) => {
                v.oncanplay = done; v.onerror = () => fail(v.error.message); v.load(); })));
              return videos.map((v) => [v.duration, v.videoWidth, v.videoHeight]); }"""
        )
    assert played
    for duration, width, height in played:  # of 32 frames at 16 fps, 128×96
        assert duration == pytest.approx(2, abs=0.1)
        assert (width, height) == (128, 96)


class _Addresses(HTMLParser):
    """All addresses in attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "data", "action", "poster")]


@pytest.mark.parametrize("name", ["reported", "extreme"])
def test_page_refers_to_nothing_outside(request: pytest.FixtureRequest, name: str) -> None:
    text = request.getfixturevalue(name).read_text(encoding="utf-8")
    parser = _Addresses()
    parser.feed(text)
    assert all(address.startswith(("data:", "#")) for address in parser.addresses)
    assert "@import" not in text
    assert "url(" not in text
    assert len(text) < 20e6


def test_text_is_escaped(extreme: Path) -> None:
    assert "<script>alert(1)" not in extreme.read_text(encoding="utf-8")


def test_untested_run_names_the_command(sample: Path, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("metrics.jsonl", "config.yaml", "checkpoints/best"):
        (run / name).symlink_to(tiny_run / name)
    assert main(["report", str(run)]) == 0
    text = (run / "report.html").read_text()
    assert f"kinema test {run} --dump {run}/test/scores.npz" in text


def test_test_without_scores_has_its_confusions(reported: Path, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("metrics.jsonl", "config.yaml", "checkpoints/best", "test/metrics.json", "test/confusion.csv"):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).symlink_to(tiny_run / name)
    assert main(["report", str(run)]) == 0
    text, whole = (run / "report.html").read_text(), reported.read_text()
    assert f"--dump {run}/test/scores.npz" in text
    for part in ("Metrics by class", "Confusion matrix"):
        of_scores = whole.split(f'aria-label="{part}"')[1].split("</table>")[0]
        assert text.split(f'aria-label="{part}"')[1].split("</table>")[0] == of_scores


def test_facts_of_the_machine(reported: Path, tiny_run: Path) -> None:
    facts = json.loads((tiny_run / "machine.json").read_text())
    assert facts["torch"] == torch.__version__
    assert facts["devices"] == 1
    for value in facts.values():
        assert f">{value}<" in reported.read_text()


def test_too_large_a_page_is_refused(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kinema.api._LARGEST_PAGE", 1000)
    assert main(["report", str(tiny_run), "--clips", "0", "--output", str(tmp_path / "page.html")]) == 2
    assert "pass fewer --clips" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_comparison_lists_differing_options(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    (other / "checkpoints").mkdir(parents=True)
    (other / "metrics.jsonl").symlink_to(tiny_run / "metrics.jsonl")
    (other / "checkpoints" / "best").symlink_to(tiny_run / "checkpoints" / "best")
    config = (tiny_run / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("lr: 0.001", "lr: 0.25"))
    assert differences(read_runs([tiny_run, other])) == [("optim.lr", ["0.001", "0.25"])]
    page = tmp_path / "page.html"
    assert main(["report", str(tiny_run), str(other), "--output", str(page), "--clips", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(page), "bytes": page.stat().st_size}
    assert "Options that differ" in page.read_text()


@pytest.mark.parametrize(("arguments", "part"), [([], "pass at least one run"), (["{}/no"], "does not exist")])
def test_faults(arguments: list[str], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", *(argument.format(tmp_path) for argument in arguments)]) == 2
    assert part in capsys.readouterr().err


def test_class_table_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 6, 200), rng.integers(0, 5, 200)  # class 5 is never predicted, 6 does not occur
    predicted[:3] = 6
    confusion = metrics.confusion_matrix(true, predicted, labels=range(7))
    expected = metrics.precision_recall_fscore_support(true, predicted, labels=range(7), zero_division=np.nan)
    table = class_table(confusion, [str(c) for c in range(7)])
    own = np.array([[np.nan if cell is None else cell for cell in row[1:5]] for row in table.rows], float)
    np.testing.assert_allclose(own, np.stack([expected[3], *expected[:3]], axis=1))


@pytest.mark.parametrize("high", [0.003, 0.4, 1, 7.3, 512])
def test_ticks_are_round_and_inside(high: float) -> None:
    values = ticks(0, high)
    assert 3 <= len(values) <= 7
    assert min(values) == 0
    assert max(values) <= high * (1 + 1e-9)
    steps = np.diff(values)
    np.testing.assert_allclose(steps, steps[0])
    assert float(f"{steps[0]:.0e}"[0]) in (1, 2, 5)
