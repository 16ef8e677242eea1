"""Reports on runs of every task: what its validations measure, what selected the best model, its pictures."""

import base64
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from kinema.api import evaluation_options, run_test, train, write_report
from kinema.cli import main
from kinema.recipes import config_of
from kinema.report.page.content import HasReport, ReportedRun
from kinema.report.page.runs import read_runs
from kinema.runtime.processes import Process
from kinema.tasks.models import read_description
from kinema.tasks.pretraining.evaluation import GAP
from kinema.training.config import single_training
from kinema.weights.find import find_model
from tests.conftest import TINY
from tests.report.chromium import CONTRASTS, FAULTS, opened
from tests.tasks.localization.planted import write_planted
from tests.tasks.pretraining import test_training as pretraining
from tests.training.test_resume import RECIPE

TINY_DETECTOR = {
    "data.workers": "0",
    "data.max_length": "64",
    "model.width": "16",
    "schedule.epochs": "1",
    "training.log_every": "1",
}


@pytest.fixture(scope="module")
def localized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a small detector, tested."""
    folder = tmp_path_factory.mktemp("localized")
    options = TINY_DETECTOR | write_planted(folder, videos=8)
    train(config_of("actionformer_64_small_feature", options), work_dir=folder / "run")
    run_test(folder / "run", evaluation_options(folder / "run"), folder=folder / "run" / "test")
    return folder / "run"


def test_localizer_has_its_own_metrics(chromium: Any, localized: Path) -> None:
    page = localized / "report.html"
    assert main(["report", str(localized)]) == 0
    metrics = json.loads((localized / "test" / "metrics.json").read_text())
    with opened(chromium, page, width=390) as shown:
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert shown.page.evaluate(FAULTS) == []
        assert shown.messages == []
        figures = dict(
            zip(
                shown.page.locator(".figures dt").all_text_contents(),
                shown.page.locator(".figures dd").all_text_contents(),
                strict=True,
            )
        )
        assert figures["average mAP"] == f"{metrics['average_mAP']:.1%}"
        assert figures["mAP@0.5"] == f"{metrics['mAP@0.5']:.1%}"
        charts = shown.page.locator("figcaption").all_text_contents()
        assert any("mAP by temporal overlap" in name for name in charts)
        table = shown.page.locator("table", has=shown.page.locator("caption:has-text('precision by class')"))
        means = [float(text.rstrip("%")) for text in table.locator("tbody td:last-child").all_text_contents()]
        assert np.mean(means) == pytest.approx(100 * metrics["average_mAP"], abs=0.06)


def test_facts_of_a_localizers_data(localized: Path) -> None:
    """Counts and lengths are those of the ground truth; the shape is that of the files."""
    database = json.loads((localized.parent / "truth.json").read_text())["database"].values()
    description = read_description(find_model(localized), None)
    data, *_ = description.task.report(ReportedRun(run=localized, test=localized / "test", description=description))
    numbers, table, by_label = data.blocks
    figures, facts = dict(numbers.values), {name: values for name, *values in table.rows}
    assert [column.name for column in table.columns] == ["fact", "training", "validation"]
    counts = []
    for place, subset in enumerate(("training", "validation")):
        videos = [video for video in database if video["subset"] == subset]
        instances = [end - start for video in videos for start, end in (x["segment"] for x in video["annotations"])]
        durations = [video["duration"] for video in videos]
        counts.append(len(instances))
        assert figures[f"{subset} videos"] == str(len(videos))
        assert figures[f"{subset} instances"] == str(len(instances))
        for name, seconds in (("length of videos", durations), ("length of instances", instances)):
            expected = f"{min(seconds):.1f} – {max(seconds):.1f} s, median {np.median(seconds):.1f} s"
            assert facts[name][place] == expected
        assert facts["features of a video"][place] == "50 points × 64 channels"
        assert facts["input of the network"][place] == "padded to 64 points × 64 channels"
    assert [row[:3] for row in by_label.rows] == [["turn", *counts]]
    assert figures["labels"] == "1"


def test_instances_that_are_too_short_for_the_grid(tmp_path: Path) -> None:
    options = {"data.workers": "0"} | write_planted(tmp_path, videos=8)
    truth = tmp_path / "truth.json"
    content = json.loads(truth.read_text())
    for name in ("v_001", "v_002", "v_004"):  # v_004 is for validation
        content["database"][name]["annotations"].append({"label": "turn", "segment": [20.0, 20.2]})
    truth.write_text(json.dumps(content))
    config = single_training(config_of("bmn_64x50_small_feature", options))
    task = config.task.open(config, Process(device=torch.device("cpu")))
    for split, short in ((task.train, 2), (task.val, 1)):  # type: ignore[attr-defined]
        videos = (x for x in content["database"].values() if (x["subset"] == "training") == (short == 2))
        total = sum(len(video["annotations"]) for video in videos)
        facts = split.facts(config.task)
        assert facts["instances shorter than the grid"] == f"{short} of {total} ({short / total:.1%})"
        assert facts["instances that can be found at tIoU 0.5"] == f"{1 - short / total:.1%}"


def test_report_without_the_data(localized: Path, tmp_path: Path) -> None:
    """Ground truth and features may be elsewhere by then; the rest of the page is written."""
    shutil.copytree(localized.parent, tmp_path / "moved")
    for name, what in (("features", "The inputs of the network cannot"), ("truth.json", "The ground truth cannot")):
        run = tmp_path / "moved" / "run"
        described = (run / "checkpoints/best/model.json").read_text()
        missing = described.replace(str(localized.parent / name), str(tmp_path / "missing" / name))
        (run / "checkpoints/best/model.json").write_text(missing)
        assert missing != described
        assert main(["report", str(run)]) == 0
        page = (run / "report.html").read_text()
        assert what in page
        assert "mAP by temporal overlap" in page


def test_a_warning_of_several_runs_is_given_once(
    localized: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "scores.json").write_text(json.dumps({"class": ["turn"], "results": {"v_000": [1.0]}}))
    runs = [tmp_path / "a", tmp_path / "b"]
    for run in runs:
        shutil.copytree(localized, run)
        model = run / "checkpoints/best/model.json"
        described = json.loads(model.read_text())
        described["data"]["class_scores"] = str(tmp_path / "scores.json")
        model.write_text(json.dumps(described))
    warning = "1 of 2 validation videos have no class scores, such as v_004: nothing is detected in them"
    write_report(runs[:1], tmp_path / "one.html")
    assert caplog.messages == [warning]
    caplog.clear()
    write_report(runs, tmp_path / "two.html")
    assert caplog.messages == [f"{warning} (2 times)"]


def test_pipeline_is_in_order_and_has_its_test(localized: Path, tmp_path: Path) -> None:
    """The test of a pipeline is that of its last stage, whatever the names of the stages are."""
    for stage in ("a", "b"):
        shutil.copytree(localized, tmp_path / "run" / stage, ignore=shutil.ignore_patterns("test"))
    shutil.copytree(localized / "test", tmp_path / "run" / "test")
    (tmp_path / "run" / "pipeline.json").write_text('{"model": "a"}')
    first, last = read_runs([tmp_path / "run"])
    assert (first.path.name, last.path.name) == ("b", "a")
    metrics = json.loads((localized / "test" / "metrics.json").read_text())
    assert (first.metrics, last.metrics) == ({}, metrics)
    (alone,) = read_runs([tmp_path / "run" / "a"])
    assert alone.metrics == metrics


def test_untested_localizer_names_the_command(localized: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("metrics.jsonl", "config.yaml", "checkpoints/best"):
        (run / name).symlink_to(localized / name)
    assert main(["report", str(run)]) == 0
    assert f"kinema test {run}<" in (run / "report.html").read_text()


@pytest.fixture(scope="module")
def pretrained(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work dir of a short pre-training, validated eight times, and its report."""
    run, clips = tmp_path_factory.mktemp("report") / "pretrained", tmp_path_factory.mktemp("clips")
    for clip in sorted(sample.glob("train/*/*.mp4"))[::4]:
        shutil.copy(clip, clips / clip.name)
    options = {"data__train": str(clips), "data__val": str(clips), "schedule__epochs": "8", "training__loggers": ""}
    train(pretraining.config(sample, **options), work_dir=run)
    assert main(["report", str(run)]) == 0
    return run


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_page_of_pretraining(chromium: Any, pretrained: Path, width: int, dark: bool) -> None:
    rows = pretraining.rows(pretrained, "val")
    best = min(rows, key=lambda row: row["loss"])
    with opened(chromium, pretrained / "report.html", width=width, dark=dark) as shown:
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.page.evaluate(CONTRASTS) == []
        assert shown.page.evaluate(FAULTS) == []
        assert (shown.messages, shown.requests) == ([], [])
        figures = shown.page.locator(".figures div").all_inner_texts()
        assert f"lowest validation loss, epoch {best['epoch']:g}\n{best['loss']:.4g}" in figures
        assert "validation videos\n8" in figures
        names = shown.page.locator("figcaption").all_text_contents()
        assert any(name.startswith("Loss ring") for name in names)
        assert not any(name.startswith("Validation") for name in names)
        sizes = shown.page.evaluate("[...document.images].map((i) => [i.complete, i.naturalWidth, i.naturalHeight])")
        assert sizes == [[True, 2 * 4 * 32 + GAP, 2 * 3 * 32 + GAP]] * 6
        captions = shown.page.locator(".pictures figcaption").all_text_contents()
        assert captions[0] == f"after epoch 1, validation loss {rows[0]['loss']:.4g}"
        assert captions[-1] == f"after epoch 8, validation loss {rows[-1]['loss']:.4g}"
        assert f"kinema train RECIPE --init {pretrained}" in shown.page.locator("main").inner_text()


def test_the_pictures_are_those_of_the_run(pretrained: Path) -> None:
    page = (pretrained / "report.html").read_text()
    last = re.findall(r'src="data:image/jpeg;base64,([^"]*)"', page)[-1]
    with Image.open(io.BytesIO(base64.b64decode(last))) as found, Image.open(pretrained / "reconstruction.png") as true:
        difference = np.asarray(found, np.float32) - np.asarray(true, np.float32)
    assert np.abs(difference).mean() < 3  # of JPEG


def test_without_clips_there_are_no_pictures(pretrained: Path, tmp_path: Path) -> None:
    assert main(["report", str(pretrained), "--clips", "0", "--output", str(tmp_path / "page.html")]) == 0
    assert "data:image/jpeg" not in (tmp_path / "page.html").read_text()


def test_runs_without_metrics_beside_the_loss_are_compared(chromium: Any, pretrained: Path, tmp_path: Path) -> None:
    other, page = tmp_path / "other", tmp_path / "page.html"
    shutil.copytree(pretrained, other)
    assert main(["report", str(pretrained), str(other), "--clips", "0", "--output", str(page)]) == 0
    losses = [row["loss"] for row in pretraining.rows(pretrained, "val")]
    with opened(chromium, page) as shown:
        table = shown.page.locator("table", has=shown.page.locator("caption:has-text('Results of the runs')"))
        cells = [row.split("\t") for row in table.locator("tbody tr").all_inner_texts()]
    assert [cell[0] for cell in cells] == ["pretrained", "other"]
    assert [cell[1:] for cell in cells] == [[f"loss, epoch {1 + int(np.argmin(losses))}", f"{min(losses):.4g}"]] * 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, "top1"), ({"task.best_by": "mean_class"}, "mean_class"), ({"task.best_by": "top5"}, "top5"),
     ({"task.best_by": "loss"}, "loss")],
)  # fmt: skip
def test_first_metric_of_a_recognizer_selects_its_best_model(
    options: dict[str, str], expected: str, sample: Path
) -> None:
    places = {"data.train": str(sample / "train"), "data.val": str(sample / "val")}
    _agree(RECIPE, TINY | places | options, expected, measured=("loss", "top1", "top5", "mean_class"))


@pytest.mark.parametrize(
    ("recipe", "options", "expected", "measured"),
    [
        ("bmn_64x50_small_feature", {}, "AUC", ("loss", "AR@1", "AR@100", "AUC")),
        ("bmn_64x50_small_feature", {"task.best_by": "AR@1"}, "AR@1", ("loss", "AR@1", "AR@100", "AUC")),
        ("bmn_64x50_small_feature", {"task.best_by": "loss"}, "loss", ("loss", "AR@1", "AR@100", "AUC")),
        ("actionformer_64_small_feature", {}, "average_mAP", ("loss", "mAP@0.5", "mAP@0.7", "average_mAP")),
        (
            "actionformer_64_small_feature",
            {"task.best_by": "mAP@0.7"},
            "mAP@0.7",
            ("loss", "mAP@0.5", "mAP@0.7", "average_mAP"),
        ),
    ],
)
def test_first_metric_of_a_localizer_selects_its_best_model(
    recipe: str, options: dict[str, str], expected: str, measured: tuple[str, ...], tmp_path: Path
) -> None:
    _agree(recipe, {"data.workers": "0"} | write_planted(tmp_path, videos=4) | options, expected, measured=measured)


def _agree(recipe: str, options: dict[str, str], expected: str, *, measured: tuple[str, ...]) -> None:
    """The page marks what the training selects by."""
    config = single_training(config_of(recipe, options))
    criterion = config.task.open(config, Process(device=torch.device("cpu"))).criterion
    assert isinstance(config.task, HasReport)
    metric = next(one for one in config.task.main_metrics() if one.name in measured)
    assert (metric.name, metric.lower) == (criterion.metric, criterion.lower) == (expected, expected == "loss")
    row = dict.fromkeys(measured, 0.5)
    assert metric.best_of([row, {**row, expected: 0.25}, {**row, expected: 0.75}])[expected] == (  # type: ignore[index]
        0.25 if metric.lower else 0.75
    )


def test_best_by_another_metric_is_marked(tiny_run: Path, tmp_path: Path, chromium: Any) -> None:
    """Of a run whose metrics have their best values at different epochs."""
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    rows = [
        {"split": "val", "step": 8 * epoch, "epoch": epoch, "loss": 1.0, "top1": top1, "top5": 1.0, "mean_class": mean}
        for epoch, top1, mean in ((1, 0.75, 0.25), (2, 0.5, 0.5), (3, 0.25, 0.375))
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    described = json.loads((run / "checkpoints/best/model.json").read_text())
    described["task"]["best_by"] = "mean_class"
    (run / "checkpoints/best/model.json").write_text(json.dumps(described))
    assert main(["report", str(run), "--clips", "0"]) == 0
    with opened(chromium, run / "report.html") as shown:
        figures = shown.page.locator(".figures div").all_inner_texts()
        rings = shown.page.locator("figure:has-text('Validation') circle.ring")
        assert rings.count() == 1
        chart = shown.page.locator("figure", has=shown.page.locator("circle.ring"))
        assert "Ring at epoch 2: 50.0%" in chart.locator("desc").text_content()
    assert "best validation mean class, epoch 2\n50.0%" in figures
    assert "top-1 of this model\n50.0%" in figures
