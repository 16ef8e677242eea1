"""Models, runs and configs that Kinema 0.1.0 wrote: they load, answer as they did, and go on."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinema.cli import main
from kinema.config import read
from kinema.tasks.models import read_description
from tests.assets.old_data import write_flow_lists
from tests.tasks.localization.planted import write_planted

OLD = Path(__file__).parent / "assets" / "written_by_0_1_0"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data of the old runs, at their relative paths, and the old files beside them."""
    home = tmp_path_factory.mktemp("home")
    sample = ["prepare", "sample", str(home / "sample"), "--train-per-class", "2", "--val-per-class", "1"]
    assert main(sample) == 0
    write_flow_lists(home / "flow")
    write_planted(home / "planted", videos=8, channels=8, parts=20)
    shutil.copytree(OLD, home, dirs_exist_ok=True)
    return home


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def scores_by_label(answers: list[dict[str, Any]]) -> dict[str, float]:
    (answer,) = answers
    return {each["label"]: each["score"] for each in answer["predictions"]}


@pytest.mark.parametrize("model", ["resumable", "slowfast"])
def test_recognizers_answer_as_they_did(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    (wanted,) = kept = json.loads(Path(model, "answers.json").read_text())
    assert main(["predict", model, wanted["video"], "--top", "8", "--json"]) == 0
    assert scores_by_label(json.loads(capsys.readouterr().out)) == pytest.approx(scores_by_label(kept), rel=1e-4)


def test_a_flow_model_answers_as_it_did() -> None:
    assert main(["test", "flow_tsn", "--dump", "flow_scores.npz"]) == 0
    with np.load("flow_scores.npz") as now, np.load("flow_tsn/scores.npz") as then:
        assert list(now["paths"]) == list(then["paths"])
        np.testing.assert_allclose(now["scores"], then["scores"], rtol=1e-4)


def test_bmn_proposes_as_it_did() -> None:
    assert main(["test", "bmn", "--work-dir", "bmn_test"]) == 0
    check_same_proposals(Path("bmn_test/results.json"), Path("bmn/results.json"))


def test_bsn_proposes_as_it_did() -> None:
    """Its candidates, which were not kept, are generated again by the run that is resumed; nothing is trained."""
    before = {file: file.read_bytes() for file in Path("bsn").rglob("*.safetensors")}
    assert main(["train", "--work-dir", "bsn", "--resume"]) == 0
    assert {file: file.read_bytes() for file in Path("bsn").rglob("*.safetensors")} == before
    assert main(["test", "bsn", "--work-dir", "bsn_test"]) == 0
    check_same_proposals(Path("bsn_test/results.json"), Path("bsn/results.json"))


def check_same_proposals(file: Path, kept: Path) -> None:
    now, then = (json.loads(path.read_text())["results"] for path in (file, kept))
    assert now.keys() == then.keys()
    for video, proposals in then.items():
        for one, other in zip(now[video], proposals, strict=False):  # the best ten were kept
            assert one["score"] == pytest.approx(other["score"], rel=1e-4)
            assert one["segment"] == pytest.approx(other["segment"], rel=1e-6)


def test_the_config_of_candidates_names_the_command_that_generates_them(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "bsn_pgm/config.yaml", "--work-dir", "candidates"]) == 2
    assert "kinema prepare candidates TEM --output" in capfd.readouterr().err
    assert main(["prepare", "candidates", "bsn/tem", "--output", "candidates"]) == 0
    assert len(list(Path("candidates").glob("v_*.npz"))) == 8


@pytest.mark.parametrize(("model", "classes"), [("multi_label", 8), ("converted", 3)])
def test_descriptions_build_their_model(model: str, classes: int) -> None:
    description = read_description(Path(model))
    clips = torch.zeros(1, 8, 32, 32, 3, dtype=torch.uint8).movedim(-1, 1)
    assert description.model.build().eval()(clips).shape == (1, classes) == (1, len(description.classes))


def test_a_run_goes_on_and_ends_as_if_never_stopped() -> None:
    """Its rows differ by rounding from those that another CPU computed.

    With SSE4.1, AVX2 and AVX-512, on 1 and 2 threads, its losses differ by up to 2.4e-7; without the optimizer's
    averages or step counts they would differ by 3e-3 or more.
    """
    assert main(["train", "--work-dir", "resumable", "--resume"]) == 0
    now, then = rows(Path("resumable/metrics.jsonl")), rows(Path("resumable/uninterrupted.jsonl"))
    training, validations = ([[row for row in rows if key in row] for rows in (now, then)] for key in ("lr", "videos"))
    assert [row["step"] for row in training[0]] == [row["step"] for row in training[1]] == list(range(1, 9))
    for one, other in zip(*training, strict=True):
        assert one["lr"] == pytest.approx(other["lr"])
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5)
    assert [row["epoch"] for row in validations[0]] == [row["epoch"] for row in validations[1]] == [1, 2]
    assert all(row["videos"] == 8 for row in validations[0])


def test_a_config_written_by_hand() -> None:
    """Every option arrives, wherever the config has clips and views now."""
    assert main(["train", "--config", "by_hand.yaml", "--work-dir", "by_hand"]) == 0
    _, written = read(Path("by_hand/config.yaml"))
    wanted = {
        "model.shift_div": "2",
        "train_clip.sampling.num_clips": "4",
        "train_clip.crop.size": "32",
        "train_clip.crop.box.scales": ["1.0", "0.875"],
        "train_clip.augment.random_erasing": "0.25",
        "val_views.sampling.num_clips": "4",
        "val_views.crops.short_side": "36",
        "test_views.sampling.twice": "true",
        "test_views.crops.crops": "three",
    }
    for key, value in wanted.items():
        assert [found for name, found in written.items() if name.removeprefix("data.") == key] == [value]
