"""The commands as a user runs them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

import kinema
from kinema.cli import COMMANDS, main
from kinema.cli.prepare import DATASETS, SUBCOMMANDS
from kinema.recipes import RECIPES
from tests.conftest import tiny_arguments

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"


@pytest.mark.parametrize(
    "command",
    [[], *([name] for name in COMMANDS), *(["prepare", what] for what in SUBCOMMANDS | DATASETS)],
    ids=" ".join,
)
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([*command, "--help"])
    except SystemExit as exit_:  # tyro's way
        code = int(str(exit_.code or 0))
    assert code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['kinema', *command])} ")


def test_recipe_help_explains_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "tsn_r50_1x1x3_100e_kinetics400_rgb", "--help-all"]) == 0
    said = capsys.readouterr().out
    for line in (
        "--optim.lr 0.01",
        "--schedule.milestones 40.0 80.0",
        "--data.train-clip.crop.box.scales 1.0 0.875 0.75 0.66",
    ):
        assert line in said


def test_commands_without_torch_answer_at_once() -> None:
    code = "import sys, kinema.cli; kinema.cli.main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_run_leaves_what_it_promises(tiny_run: Path) -> None:
    for file in ("config.yaml", "metrics.jsonl", "curves.png", "checkpoints/last/model.safetensors"):
        assert (tiny_run / file).stat().st_size > 0
    assert (tiny_run / "checkpoints/best/model.json").exists()
    assert list((tiny_run / "tensorboard").iterdir())
    rows = [json.loads(line) for line in (tiny_run / "metrics.jsonl").read_text().splitlines()]
    training = [row for row in rows if row["split"] == "train"]
    validation = [row for row in rows if row["split"] == "val"]
    assert [row["step"] for row in training] == list(range(1, 17))
    for name in ("step", "epoch", "loss", "lr", "step_time", "data_time", "memory_gib"):
        assert all(name in row for row in training)
    assert [row["epoch"] for row in validation] == [1, 2]
    assert all(row["videos"] == 16 and 0 <= row["top1"] <= row["top5"] <= 1 for row in validation)
    assert all(row["loss"] > 0 for row in validation)


def test_config_yaml_trains_the_same_model_again(tiny_run: Path, tmp_path: Path) -> None:
    assert main(["train", "--config", str(tiny_run / "config.yaml"), "--work-dir", str(tmp_path)]) == 0
    assert (tmp_path / "config.yaml").read_text() == (tiny_run / "config.yaml").read_text()
    weights = "checkpoints/last/model.safetensors"
    assert (tmp_path / weights).read_bytes() == (tiny_run / weights).read_bytes()


def test_test_measures_what_validation_measured(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = json.loads((tiny_run / "metrics.jsonl").read_text().splitlines()[-1])
    dump = tmp_path / "scores.npz"
    assert (
        main(["test", str(tiny_run / "checkpoints/last"), "--json", "--work-dir", str(tmp_path), "--dump", str(dump)])
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found == {name: last[name] for name in ("loss", "top1", "top5", "mean_class", "videos", "bad_files")}
    assert json.loads((tmp_path / "metrics.json").read_text()) == found
    assert (tmp_path / "confusion.png").exists()
    scores = np.load(dump)
    assert scores["scores"].sum(1) == pytest.approx(1, abs=1e-5)
    assert (scores["scores"].argmax(1) == scores["labels"]).mean() == pytest.approx(found["top1"])
    labels = [list(scores["classes"]).index(Path(path).parent.name) for path in scores["paths"]]
    assert labels == scores["labels"].tolist()


def test_predict_prints_names_and_renders(
    tiny_run: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = next((sample / "val").glob("growing/*.mp4"))
    out = tmp_path / "out.mp4"
    assert main(["predict", str(tiny_run), str(clip), "--json", "--top", "3", "--render", str(out)]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["video"] == str(clip)
    assert len(answer["predictions"]) == 3
    assert {one["label"] for one in answer["predictions"]} <= {folder.name for folder in (sample / "val").iterdir()}
    scores = [one["score"] for one in answer["predictions"]]
    assert scores == sorted(scores, reverse=True)
    with av.open(str(out)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 32

    in_python = kinema.load(tiny_run).predict(clip, top=3)
    assert [(one.label, one.score) for one in in_python] == [
        (one["label"], one["score"]) for one in answer["predictions"]
    ]


def test_predict_takes_folders(tiny_run: Path, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(tiny_run), str(sample / "val"), "--json"]) == 0
    videos = [answer["video"] for answer in json.loads(capsys.readouterr().out)]
    assert sorted(videos) == sorted(str(path) for path in (sample / "val").glob("*/*.mp4"))


def test_bad_videos_are_replaced_listed_and_counted(
    sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(sample, data)
    cut, gone = data / "train/growing/growing_0001.mp4", data / "val/growing/growing_0001.mp4"
    cut.write_bytes(cut.read_bytes()[:200])
    gone.write_bytes(b"")
    arguments = tiny_arguments(data, data__max_bad_fraction="0.05", data__workers="2")
    assert main(["train", RECIPE, "--work-dir", str(tmp_path / "run"), *arguments]) == 0
    listed = (tmp_path / "run/bad_files.csv").read_text()
    assert str(cut) in listed
    assert str(gone) in listed
    assert capsys.readouterr().err.count(f"bad file: {cut}") == 1
    last = json.loads((tmp_path / "run/metrics.jsonl").read_text().splitlines()[-1])
    assert (last["videos"], last["bad_files"]) == (15, 1)


def test_fine_tuning_makes_a_new_head_only_for_other_classes(
    tiny_run: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    four = tmp_path / "four"
    for folder in sorted((sample / "train").iterdir())[:4]:
        shutil.copytree(folder, four / folder.name)
    same = ["train", RECIPE, "--init", str(tiny_run), "--work-dir", str(tmp_path / "same")]
    assert main([*same, *tiny_arguments(sample, schedule__epochs="1")]) == 0
    assert "new head" not in capsys.readouterr().err
    other = ["train", RECIPE, "--init", str(tiny_run), "--work-dir", str(tmp_path / "other")]
    places = {"data__train": str(four), "data__val": str(four), "schedule__epochs": "1"}
    assert main([*other, *tiny_arguments(sample, **places)]) == 0
    said = capsys.readouterr().err
    assert "new head" in said
    assert "4 classes" in said
    assert len(kinema.load(tmp_path / "other").classes) == 4
    # What the data decided is in the config that the run leaves, which trains the same again.
    again = ["train", "--config", str(tmp_path / "other/config.yaml"), "--work-dir", str(tmp_path / "again")]
    assert main([*again, "--init", str(tiny_run)]) == 0
    weights = "checkpoints/last/model.safetensors"
    assert (tmp_path / "again" / weights).read_bytes() == (tmp_path / "other" / weights).read_bytes()


def test_recipes_lists_all_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json"]) == 0
    assert [row["recipe"] for row in json.loads(capsys.readouterr().out)] == list(RECIPES)
    assert main(["recipes", "tsn"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + sum("tsn" in name for name in RECIPES)


def test_a_recipe_of_ones_own(sample: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from kinema.recipes.sample import tsn_r18_video_1x1x8_sample_rgb\n\n"
        "def slow():\n    config = tsn_r18_video_1x1x8_sample_rgb()\n    config.optim.lr = 0.001\n    return config\n"
    )
    recipe = f"{tmp_path / 'mine.py'}:slow"
    run = tmp_path / "run"
    assert main(["train", recipe, "--work-dir", str(run), *tiny_arguments(sample, schedule__epochs="1")]) == 0
    assert "lr: 0.001" in (run / "config.yaml").read_text()
    assert main(["train", "--config", str(run / "config.yaml"), "--work-dir", str(tmp_path / "again")]) == 0
