"""A job whose time is over, by Slurm's own clock, whose unit is the minute."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from kinema.training.saving.record import read_rows
from tests.slurm.cluster import Cluster
from tests.slurm.test_cluster import RECIPE, assert_same, cluster, options, said, submit, undisturbed

pytestmark = pytest.mark.slow

__all__ = ["cluster"]  # a fixture

SECONDS = 100
"""That the training takes by itself: Slurm warns 30 to 90 seconds after the start of a job of 2 minutes."""


def test_a_job_whose_time_is_over_goes_on_in_the_next(cluster: Cluster, sample: Path, tmp_path: Path) -> None:
    usual = [each for each in options(sample) if "epochs" not in each and "val-every" not in each]
    usual += ["--training.val-every", "100000"]
    trial = undisturbed(cluster, tmp_path / "trial", *usual, "--schedule.epochs", "2")
    steps = [row["step_time"] for row in read_rows(trial / "metrics.jsonl", "train")]
    epochs = str(round(SECONDS / statistics.median(steps) / 8))

    reference, work_dir = tmp_path / "reference", tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "kinema"]
    command = [*torchrun, "train", RECIPE, "--work-dir", str(reference), *usual, "--schedule.epochs", epochs]
    beside = subprocess.Popen(command, env=cluster.environment, text=True, stderr=subprocess.PIPE)
    try:
        arguments = [*usual, "--schedule.epochs", epochs, "--time", "2", "--grace", "30"]
        job, log = submit(cluster, "--work-dir", str(work_dir), *arguments)
        assert beside.wait(300) == 0, beside.communicate()[1]
    finally:
        beside.kill()
    state = cluster.end_of(job)
    assert state["JobState"] == "COMPLETED", said(work_dir)
    assert state["TimeLimit"] == "00:02:00"
    assert int(state["Restarts"]) >= 1, said(work_dir)
    text = log.read_text()
    assert text.count("resuming") == int(state["Restarts"]), text
    # A warning may also come when all steps are done.
    assert text.count("the time limit is near") >= int(state["Restarts"]), text
    assert_same(work_dir, reference)
