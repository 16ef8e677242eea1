"""Metrics of two processes are those of one, whatever each of them saw."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from kinema.data.lists.index import LabelMode
from kinema.data.loader import EvalBatches
from kinema.tasks.recognition.metrics import recognition_metrics


def measure(rank: int, world: int, meeting: str, results: str, videos: int, kind: LabelMode) -> None:
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.rand((videos, 7), generator=generator), torch.arange(videos) % 6
    if kind == "multi":
        labels = torch.stack([labels, (labels + 2).where(labels < 4, -1)], dim=1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    metrics = recognition_metrics(kind, 7, torch.device("cpu"))
    for keys in EvalBatches(videos, 4, rank=rank, world=world):
        rows = [key.row for key in keys]
        metrics.update(scores[rows], labels[rows])
    torch.save(metrics.compute(), f"{results}.{rank}")
    if world > 1:
        dist.destroy_process_group()


@pytest.mark.parametrize("videos", [13, 1])  # an odd number; and a process that sees no video at all
@pytest.mark.parametrize("kind", ["single", "multi"])
def test_two_processes_measure_the_same(tmp_path: Path, videos: int, kind: LabelMode) -> None:
    alone = str(tmp_path / "alone")
    measure(0, 1, "", alone, videos, kind)
    both = str(tmp_path / "both")
    mp.spawn(measure, args=(2, str(tmp_path / "meeting"), both, videos, kind), nprocs=2)
    expected, confusion = torch.load(f"{alone}.0")
    for rank in range(2):
        found, matrix = torch.load(f"{both}.{rank}")
        assert found == pytest.approx(expected)
        assert found["videos"] == videos
        if kind == "single":
            assert torch.equal(matrix, confusion)
