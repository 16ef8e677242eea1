"""Metrics of two processes are those of one, whatever each of them saw."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from kinema.data.kinds import LabelMode
from kinema.data.loader import EvalBatches
from kinema.tasks.recognition.evaluation.metrics import recognition_metrics

CASES: list[tuple[LabelMode, int]] = [("single", 13), ("multi", 13), ("single", 1), ("multi", 1)]
"""Kinds of labels and numbers of videos: an odd one, and so few that a process sees no video at all."""


def measured(kind: LabelMode, videos: int, *, rank: int, world: int) -> Any:
    """What a process of `world` measures on its share of the videos."""
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.rand((videos, 7), generator=generator), torch.arange(videos) % 6
    if kind == "multi":
        labels = torch.stack([labels, (labels + 2).where(labels < 4, -1)], dim=1)
    metrics = recognition_metrics(kind, 7, torch.device("cpu"))
    for keys in EvalBatches(videos, 4, rank=rank, world=world):
        rows = [key.row for key in keys]
        metrics.update(scores[rows], labels[rows])
    return metrics.compute()


def measure_all(rank: int, meeting: str, results: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    torch.save([measured(kind, videos, rank=rank, world=2) for kind, videos in CASES], f"{results}.{rank}")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """Of each of two processes, what it measured in each case."""
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(measure_all, args=(str(folder / "meeting"), str(folder / "results")), nprocs=2)
    return [torch.load(folder / f"results.{rank}") for rank in range(2)]


@pytest.mark.parametrize("case", range(len(CASES)), ids=[f"{kind}-{videos}" for kind, videos in CASES])
def test_two_processes_measure_the_same(case: int, both: list[list[Any]]) -> None:
    kind, videos = CASES[case]
    expected, confusion = measured(kind, videos, rank=0, world=1)
    for metrics, matrix in (results[case] for results in both):
        assert metrics == pytest.approx(expected)
        assert metrics["videos"] == videos
        if kind == "single":
            assert torch.equal(matrix, confusion)
