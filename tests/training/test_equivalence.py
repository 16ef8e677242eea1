"""The same step, however it is divided: over accumulated batches, over processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kinema.api import train
from tests.conftest import tiny_arguments, tiny_config

# Batch norm's statistics and dropout do depend on how a batch is divided: without them the steps are the same sums.
SAME_SUMS = {
    "model__norm_eval": "true",
    "model__dropout": "0",
    "data__val": "",
    "schedule__epochs": "1",
    "optim__lr": "0.01",
}


@pytest.fixture(scope="module")
def whole(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp("whole")
    train(tiny_config(sample, data__batch_size="8", **SAME_SUMS), work_dir=work_dir)
    return work_dir


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = (load_file(run / "checkpoints/last/model.safetensors") for run in (one, other))
    assert first.keys() == second.keys()
    for name, weight in first.items():
        torch.testing.assert_close(second[name], weight, rtol=1e-3, atol=1e-5, msg=name)


def test_accumulated_batches_make_the_step_of_the_whole_batch(sample: Path, whole: Path, tmp_path: Path) -> None:
    train(tiny_config(sample, data__batch_size="2", training__accumulate="4", **SAME_SUMS), work_dir=tmp_path)
    assert_same_weights(whole, tmp_path)


def test_two_processes_make_the_step_of_one(sample: Path, whole: Path, tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "kinema"]
    options = tiny_arguments(sample, data__batch_size="4", **SAME_SUMS)
    command = [*launcher, "train", "tsm_r18_video_1x1x8_sample_rgb", "--work-dir", str(tmp_path), *options]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert_same_weights(whole, tmp_path)


def test_training_moves_the_weights(whole: Path, sample: Path, tmp_path: Path) -> None:
    """What the tests above compare is not just the same start."""
    train(tiny_config(sample, data__batch_size="8", **SAME_SUMS | {"optim__lr": "0.001"}), work_dir=tmp_path)
    weights = [load_file(run / "checkpoints/last/model.safetensors")["fc.weight"] for run in (whole, tmp_path)]
    assert (weights[0] - weights[1]).abs().max() > 1e-3
