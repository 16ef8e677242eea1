"""Training with stages that torch.compile has turned into kernels."""

import json
import shutil
from pathlib import Path

import pytest
from torch._dynamo.utils import counters

from kinema.api import train
from tests.conftest import tiny_config

STAGES = 4


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_training_takes_the_same_steps(sample: Path, tmp_path: Path) -> None:
    """Each stage is compiled once, although validation comes between with batches of another shape."""
    losses = []
    for compiled in ("false", "true"):
        counters.clear()
        work_dir = tmp_path / compiled
        train(tiny_config(sample, runtime__compile=compiled, data__val_batch_size="3"), work_dir=work_dir)
        rows = map(json.loads, (work_dir / "metrics.jsonl").read_text().splitlines())
        losses.append([row["loss"] for row in rows if row["split"] == "train"])
    assert counters["stats"]["unique_graphs"] == STAGES
    assert len(losses[0]) == 16
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
