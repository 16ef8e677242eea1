"""A killed and resumed run ends with the same bits as one that was left alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kinema.api import train
from kinema.errors import UserError
from kinema.training.parallel.distributed import StopRequest
from tests.conftest import tiny_arguments, tiny_config

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

VARIANTS = {
    "plain": {},
    "augmented, workers, moving average, accumulation": {
        "task__mixup": "0.8",
        "task__cutmix": "1",
        "data__train_clip__augment__rand_augment": "2",
        "data__train_clip__augment__random_erasing": "0.5",
        "data__train_clip__crop__flip_pairs": "0:1",
        "data__workers": "2",
        "data__batch_size": "2",
        "training__ema_decay": "0.9",
        "training__accumulate": "2",
    },
    "2 processes, balanced": {
        "data__workers": "1",
        "data__batch_size": "2",
        "data__reader": "pyav",
        "data__balanced": "true",
        "task__loss": "focal",
    },
    "2 processes": {"data__workers": "1", "data__batch_size": "2", "data__reader": "pyav"},
    "2 processes, sharded": {
        "data__workers": "1",
        "data__batch_size": "2",
        "data__reader": "pyav",
        "training__fully_shard": "true",
        "training__ema_decay": "0.9",
        "optim__clip_norm": "1",
    },
    "3 processes": {"data__workers": "1", "data__batch_size": "1", "data__reader": "pyav"},
}


def command(sample: Path, work_dir: Path, variant: str) -> list[str]:
    launcher = [sys.executable]
    if "processes" in variant:
        launcher += ["-m", "torch.distributed.run", f"--nproc-per-node={variant[0]}", "--standalone"]
    # 32 training videos in steps of 4: checkpoints after steps 3, 6, 8 (an epoch), 9, 12, 15, 16.
    options = tiny_arguments(sample, training__checkpoint_every="3", **VARIANTS[variant])
    return [*launcher, "-m", "kinema", "train", RECIPE, "--work-dir", str(work_dir), "--resume", *options]


def rows(work_dir: Path) -> list[dict[str, float]]:
    timed = ("step_time", "data_time", "memory_gib")
    lines = (work_dir / "metrics.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name not in timed} for line in lines]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(arguments, env=ENVIRONMENT, text=True, stderr=subprocess.PIPE, start_new_session=True)


def wait_for_step(process: subprocess.Popen[str], work_dir: Path, step: int) -> None:
    metrics = work_dir / "metrics.jsonl"
    while not (metrics.exists() and any(f'"step": {step},' in line for line in metrics.read_text().splitlines())):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


@pytest.fixture(scope="module", params=VARIANTS)
def undisturbed(
    request: pytest.FixtureRequest, sample: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    work_dir = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(command(sample, work_dir, request.param), env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return request.param, work_dir


@pytest.mark.slow
def test_sigkill_at_any_step_changes_nothing(undisturbed: tuple[str, Path], sample: Path, tmp_path: Path) -> None:
    variant, reference = undisturbed
    for step in (2, 7, 13):  # before any checkpoint, in the middle of the first epoch, and of the second
        process = start(command(sample, tmp_path, variant))
        wait_for_step(process, tmp_path, step)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode != 0
    done = subprocess.run(command(sample, tmp_path, variant), env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for checkpoint in ("last", "best"):
        for file in (reference / "checkpoints" / checkpoint).glob("*.safetensors"):
            assert (tmp_path / "checkpoints" / checkpoint / file.name).read_bytes() == file.read_bytes(), file
    assert rows(tmp_path) == rows(reference)


def test_other_classes_or_another_network_are_not_resumed(sample: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        shutil.copytree(sample / split, tmp_path / split)
    places = {"data__train": str(tmp_path / "train"), "data__val": str(tmp_path / "val")}
    work_dir = tmp_path / "run"
    train(tiny_config(sample, **places, schedule__epochs="1"), work_dir=work_dir)
    kept = {file: file.read_bytes() for file in work_dir.rglob("*") if file.is_file()}

    def refused(**options: str) -> str:
        with pytest.raises(UserError) as caught:
            train(tiny_config(sample, **places, **options), work_dir=work_dir, resume=True)
        assert {file: file.read_bytes() for file in kept} == kept
        return str(caught.value)

    assert "--model.width 16 (the run has 8)" in refused(model__width="16")
    assert "--model.dropout 0.1" in refused(model__dropout="0.1")
    assert "--model.depth 34 (the run has 18)" in refused(model__depth="34")
    first = min((sample / "train").iterdir()).name
    for split in ("train", "val"):
        (tmp_path / split / first).rename(tmp_path / split / "zzz")
    assert f"class 0 '{first}' → " in refused()
    for split in ("train", "val"):
        shutil.rmtree(tmp_path / split / "zzz")
    assert "8 classes → 7" in refused()


@pytest.mark.slow
def test_sigterm_saves_and_asks_to_be_requeued(sample: Path, tmp_path: Path, undisturbed: tuple[str, Path]) -> None:
    variant, reference = undisturbed
    process = start(command(sample, tmp_path, variant))
    wait_for_step(process, tmp_path, 5)
    process.terminate()
    errors = process.communicate(timeout=120)[1]
    if "processes" not in variant:  # torchrun has exit codes of its own
        assert process.returncode == 75, errors
    assert "--resume continues" in errors
    assert (tmp_path / "curves.png").stat().st_size > 1000
    saved = json.loads((tmp_path / "checkpoints/last/training.json").read_text())["position"]["step"]
    assert saved == max(row["step"] for row in rows(tmp_path)) >= 5
    subprocess.run(command(sample, tmp_path, variant), env=ENVIRONMENT, check=True, capture_output=True)
    weights = "checkpoints/last/model.safetensors"
    assert (tmp_path / weights).read_bytes() == (reference / weights).read_bytes()


def test_ctrl_c_saves_the_run(sample: Path, tmp_path: Path) -> None:
    arguments = [*command(sample, tmp_path, "plain"), "--data.workers=2"]
    arguments.remove("--data.workers=0")
    process = start(arguments)
    wait_for_step(process, tmp_path, 5)
    os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C reaches the loader workers as well
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 130, errors
    assert "--resume continues" in errors
    assert (tmp_path / "curves.png").stat().st_size > 1000
    saved = json.loads((tmp_path / "checkpoints/last/training.json").read_text())["position"]["step"]
    assert saved == max(row["step"] for row in rows(tmp_path)) >= 5


def test_a_second_ctrl_c_ends_a_run_at_once() -> None:
    with StopRequest().listening() as stop:
        signal.raise_signal(signal.SIGINT)
        assert (stop.received, stop.exit_code) == (True, 130)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_ctrl_c_after_a_schedulers_signal_ends_a_run_at_once() -> None:
    with StopRequest().listening() as stop:
        signal.raise_signal(signal.SIGTERM)
        assert (stop.received, stop.exit_code) == (True, 75)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
