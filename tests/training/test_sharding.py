"""A sharded training is the training that it would be without: losses, weights, files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from kinema.cli import main
from tests.conftest import tiny_arguments

RECIPE = """
from kinema.recipes import config_of
from kinema.training import AdamW

def sgd():
    return config_of("tsm_r18_video_1x1x8_sample_rgb")

def adamw():
    config = sgd()
    config.optim = AdamW(lr=1e-4)
    return config
"""
VARIANTS = {
    "sgd": {},
    "adamw": {},
    "sgd, all that touches weights": {
        "training__ema_decay": "0.5",
        "training__accumulate": "2",
        "training__precise_bn": "2",
        "optim__clip_norm": "0.5",
        "model__frozen_stages": "1",
        "model__gradient_checkpointing": "true",
        "data__batch_size": "2",
    },
}


def trained(sample: Path, work_dir: Path, recipe: str, **options: str) -> Path:
    file = work_dir.parent / "my_recipes.py"
    file.write_text(RECIPE)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "kinema"]
    # Sharded weights are not channels-last: without that the two runs are the same but for the order of sums.
    # 32 training videos, 16 for validation: the processes have different numbers of batches of it.
    arguments = tiny_arguments(
        sample, **({"data__val_batch_size": "3", "optim__lr": "0.002", "runtime__channels_last": "false"} | options)
    )
    command = [*launcher, "train", f"{file}:{recipe}", "--work-dir", str(work_dir), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return work_dir


def losses(work_dir: Path) -> list[float]:
    rows = map(json.loads, (work_dir / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if row["split"] == "train"]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_training_as_without(
    variant: str, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, options = variant.partition(",")[0], VARIANTS[variant]
    plain = trained(sample, tmp_path / "plain", recipe, **options)
    sharded = trained(sample, tmp_path / "sharded", recipe, training__fully_shard="true", **options)
    assert losses(sharded) == pytest.approx(losses(plain), rel=1e-3)
    assert max(losses(plain)) - min(losses(plain)) > 0.01
    for file in ("model.safetensors", "training.safetensors"):  # the second has momenta: sums of gradients
        expected, found = (load_file(run / "checkpoints/last" / file) for run in (plain, sharded))
        assert list(found) == list(expected)
        # As a whole, since Adam's first steps are as long for gradients of nothing but rounding as for others. A sum
        # instead of a mean over processes would be off by the whole norm.
        for name, tensor in expected.items():
            assert (found[name] - tensor).double().norm() <= 0.05 * tensor.double().norm(), f"{file} {name}"
    # What was saved is used like any other model, by one process.
    assert main(["test", str(sharded), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["videos"] == 16
