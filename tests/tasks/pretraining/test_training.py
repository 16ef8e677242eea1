"""Pre-training on unlabeled videos, and fine-tuning from it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from kinema.api import run_test, train
from kinema.cli import main
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.tasks.pretraining.data import PretrainingConfig
from kinema.tasks.pretraining.evaluation import GAP
from kinema.training import TrainConfig

SMALL = {
    "model.frames": "4", "model.size": "32", "model.patch": "8", "model.width": "32", "model.depth": "2",
    "model.heads": "2",
}  # fmt: skip
CLIPS = {
    "data.train_clip.sampling.clip_len": "4", "data.train_clip.crop.size": "32", "data.workers": "0",
    "data.val_views.sampling.clip_len": "4", "data.val_views.crops.size": "32", "data.val_views.crops.short_side": "32",
    "schedule.epochs": "2", "schedule.warmup_epochs": "0", "training.log_every": "1",
}  # fmt: skip
DECODER = {
    "model.decoder_width": "16",
    "model.decoder_depth": "1",
    "model.decoder_heads": "2",
    "task.mask_ratio": "0.75",
}
RECIPE = "videomae_s_16x4_pretrain_small"


def options_of(sample: Path, **changes: str) -> dict[str, str]:
    data = {"data.train": str(sample / "train"), "data.val": str(sample / "val"), "data.batch_size": "8"}
    return SMALL | CLIPS | DECODER | data | {key.replace("__", "."): value for key, value in changes.items()}


def config(sample: Path, **changes: str) -> PretrainingConfig:
    made = config_of(RECIPE, options_of(sample, **changes))
    assert isinstance(made, TrainConfig)
    return made


def arguments(options: dict[str, str]) -> list[str]:
    return [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]


@pytest.fixture(scope="module")
def run(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose videos are in one folder, without labels."""
    videos = tmp_path_factory.mktemp("unlabeled") / "videos"
    videos.mkdir()
    for clip in sample.glob("train/*/*.mp4"):
        shutil.copy(clip, videos / clip.name)
    work_dir = tmp_path_factory.mktemp("pretrained") / "run"
    train(config(sample, data__train=str(videos), schedule__epochs="5", optim__lr="0.004"), work_dir=work_dir)
    return work_dir


def rows(work_dir: Path, split: str) -> list[dict[str, float]]:
    lines = map(json.loads, (work_dir / "metrics.jsonl").read_text().splitlines())
    return [row for row in lines if row["split"] == split]


def test_the_loss_falls_and_the_best_is_kept(run: Path) -> None:
    losses = [row["loss"] for row in rows(run, "val")]
    assert losses[-1] < losses[0] < 1.2  # normalized pixels have variance one
    assert [row["videos"] for row in rows(run, "val")] == [16] * 5
    assert (run / "checkpoints/best/model.safetensors").exists()


def test_pictures_of_each_validation(run: Path) -> None:
    """Two columns of two clips, each with rows of the frames, the visible tokens and the reconstruction."""
    pictures = sorted((run / "pictures").glob("reconstruction_*.png"))
    assert len(pictures) == 5
    with Image.open(run / "reconstruction.png") as picture:
        assert picture.size == (2 * 4 * 32 + GAP, 2 * 3 * 32 + GAP)
        whole = np.array(picture)
    gap = np.ones(whole.shape[:2], bool)
    clips = []
    for top in (0, 96 + GAP):
        for left in (0, 128 + GAP):
            clips.append(whole[top : top + 96, left : left + 128].reshape(3, 32, 128, 3))
            gap[top : top + 96, left : left + 128] = False
    assert (whole[gap] == 255).all()
    last = torch.from_numpy(np.stack(clips))
    hidden = (last[:, 1] == 128).all(-1)
    # A quarter of the tokens is visible there, as in the frames above and in the reconstruction below.
    assert hidden.float().mean().item() == pytest.approx(0.75, abs=0.05)
    assert torch.equal(last[:, 0][~hidden], last[:, 1][~hidden])
    assert torch.equal(last[:, 0][~hidden], last[:, 2][~hidden])


def test_lists_without_labels(sample: Path, tmp_path: Path) -> None:
    clips = sorted(sample.glob("train/*/*.mp4"))[:4]
    plain, table, labeled = tmp_path / "list.txt", tmp_path / "list.csv", tmp_path / "labeled.txt"
    plain.write_text("".join(f"{clip}\n" for clip in clips))
    labeled.write_text("".join(f"{clip} {number}\n" for number, clip in enumerate(clips)))
    table.write_text("path,group\n" + "".join(f'"{clip}",a\n' for clip in clips))
    losses = []
    for file in (plain, table, labeled):
        work_dir = tmp_path / file.name.replace(".", "_")
        options = {"data__train": str(file), "data__val": str(file), "data__batch_size": "4", "schedule__epochs": "1"}
        losses.append(train(config(sample, **options), work_dir=work_dir)["loss"])
    assert losses[0] == losses[1] == losses[2]


def test_a_fine_tuning_begins_with_the_backbone(run: Path, sample: Path, tmp_path: Path) -> None:
    fine = {"data.train": str(sample / "train"), "data.val": str(sample / "val"), "data.batch_size": "8"}
    fine |= CLIPS | {"data.test_views.sampling.clip_len": "4", "data.test_views.crops.size": "32"}
    fine |= {"data.test_views.crops.short_side": "32", "schedule.epochs": "1", "optim.lr": "1e-9"}
    # Depth, width and heads are the pre-trained model's; the clips are the recipe's.
    given = ["--model.frames=4", "--model.size=32", *arguments(fine)]
    command = ["train", "videomae_s_16x4_small", "--init", str(run), "--work-dir", str(tmp_path / "fine"), *given]
    assert main(command) == 0
    before, after = (load_file(each / "checkpoints/last/model.safetensors") for each in (run, tmp_path / "fine"))
    shared = {name for name in after if name.startswith("backbone.")}
    assert shared == {name for name in before if name.startswith("backbone.")}
    best = load_file(run / "checkpoints/best/model.safetensors")
    for name in shared:
        torch.testing.assert_close(after[name], best[name], rtol=0, atol=1e-5, msg=name)
    described = json.loads((tmp_path / "fine/checkpoints/last/model.json").read_text())
    assert (described["model"]["depth"], described["model"]["heads"], len(described["classes"])) == (2, 2, 8)


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_bits(sample: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    options = {"data__train_clip__repeats": "2", "task__decoder_mask": "running_cell", "training__ema_decay": "0.9"}
    train(config(sample, **options), work_dir=whole)
    limited = tmp_path / "stopping.py"
    limited.write_text(
        "import os, sys, signal\n"
        "from kinema.training import loop\n"
        "step = loop.train_step\n"
        "def stopping(run, batches, number, *rest):\n"
        "    if number == 6: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(run, batches, number, *rest)\n"
        "loop.train_step = stopping\n"
        "from kinema.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    command = ["train", RECIPE, "--work-dir", str(parts), "--resume", *arguments(options_of(sample, **options))]
    assert subprocess.run([sys.executable, limited, *command], capture_output=True).returncode == -9
    assert main(command) == 0
    for file in (whole / "checkpoints/last").glob("*.safetensors"):
        assert (parts / "checkpoints/last" / file.name).read_bytes() == file.read_bytes(), file.name


def test_test_measures_other_videos(run: Path, sample: Path, tmp_path: Path) -> None:
    from kinema.api import evaluation_options

    options = evaluation_options(run)
    metrics = run_test(run, options, folder=tmp_path / "test")
    best = min(row["loss"] for row in rows(run, "val"))
    assert metrics["loss"] == pytest.approx(best, rel=1e-5)
    assert (tmp_path / "test/reconstruction.png").exists()


def test_what_has_no_meaning_is_refused(run: Path, sample: Path, tmp_path: Path) -> None:
    def refused(**changes: str) -> str:
        with pytest.raises(UserError) as caught:
            train(config(sample, **changes), work_dir=tmp_path / "refused")
        return str(caught.value)

    assert "--data.folds concerns labels" in refused(data__folds="3", data__val="")
    assert "--data.balanced concerns labels" in refused(data__balanced="true")
    assert "--data.classes concerns labels" in refused(data__classes="names.txt")
    assert "hides 0 of a frame's 16 tokens" in refused(task__mask_ratio="0.01")
    assert "the model takes 4 of 32×32" in refused(data__train_clip__crop__size="48")
    assert "a folder of videos, or a list" in refused(data__train="")


def test_a_pretrained_model_answers_nothing(run: Path, sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(next(sample.glob("val/*/*.mp4")))
    assert main(["predict", str(run), clip]) == 2
    assert "fine-tune it with kinema train RECIPE --init" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_two_processes(sample: Path, tmp_path: Path, sharded: bool) -> None:
    """Validation sees every video once, and the losses of both processes are averaged."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "kinema"]
    options = options_of(sample, data__batch_size="4", training__fully_shard=str(sharded).lower())
    command = [*launcher, "train", RECIPE, "--work-dir", str(tmp_path), *arguments(options)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert [row["videos"] for row in rows(tmp_path, "val")] == [16, 16]
    assert main(["test", str(tmp_path), "--json"]) == 0
    assert json.loads((tmp_path / "test/metrics.json").read_text())["loss"] == pytest.approx(
        min(row["loss"] for row in rows(tmp_path, "val")), rel=1e-4
    )
