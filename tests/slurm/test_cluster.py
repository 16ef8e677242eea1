"""A training that a real Slurm interrupts twice ends with the same bits as one that was left alone."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import tiny_arguments
from tests.slurm.cluster import Cluster, slurm_cluster
from tests.tasks.localization.planted import write_planted
from tests.training.test_resume import rows

pytestmark = pytest.mark.slow

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"
SLURM = ["--gpus-per-node", "0", "--tasks-per-node", "2", "--time", "10", "--json"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as running:
        running.environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
        yield running


def options(sample: Path) -> list[str]:
    # 32 training videos in steps of 2 x 2: 16 steps, with checkpoints after 3, 6, 8 (an epoch), 9, 12, 15, 16.
    return tiny_arguments(
        sample, data__workers="1", data__batch_size="2", data__reader="pyav", training__checkpoint_every="3"
    )


def submit(cluster: Cluster, *arguments: str, recipe: str = RECIPE) -> tuple[str, Path]:
    answer = json.loads(cluster.call(sys.executable, "-m", "kinema", "submit", recipe, *SLURM, *arguments))
    return answer["job"], Path(answer["log"])


def undisturbed(cluster: Cluster, work_dir: Path, *arguments: str, recipe: str = RECIPE) -> Path:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "kinema"]
    command = [*torchrun, "train", recipe, "--work-dir", str(work_dir), *arguments]
    done = subprocess.run(command, env=cluster.environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return work_dir


def assert_same(work_dir: Path, reference: Path) -> None:
    files = [path for kind in ("*.safetensors", "*.npz") for path in reference.rglob(kind)]
    assert files
    for file in files:
        assert (work_dir / file.relative_to(reference)).read_bytes() == file.read_bytes(), file
    for record in reference.rglob("metrics.jsonl"):
        assert rows(work_dir / record.parent.relative_to(reference)) == rows(record.parent)


def wait_for_step(cluster: Cluster, job: str, work_dir: Path, step: int, *, stage: str = "") -> None:
    metrics, last = work_dir / stage / "metrics.jsonl", time.monotonic() + 240
    while not (metrics.exists() and any(row["step"] >= step for row in rows(metrics.parent))):
        assert cluster.state(job)["JobState"] not in ("FAILED", "COMPLETED", "CANCELLED"), said(work_dir)
        assert time.monotonic() < last, f"{cluster.state(job)}\n{said(work_dir)}"
        time.sleep(0.02)


def said(work_dir: Path) -> str:
    return "\n".join(log.read_text() for log in sorted((work_dir / "slurm").glob("*.out")))


def test_requeued_runs_end_with_the_same_bits(cluster: Cluster, sample: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / "run"
    reference = undisturbed(cluster, tmp_path / "reference", *options(sample))
    job, log = submit(cluster, "--work-dir", str(work_dir), *options(sample))
    wait_for_step(cluster, job, work_dir, 2)
    # What Slurm sends before the end of the time; it cannot be asked for it earlier.
    cluster.call("scancel", "--signal=USR2", job)
    wait_for_step(cluster, job, work_dir, 10)
    cluster.call("scontrol", "requeue", job)
    state = cluster.end_of(job)
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "2"), said(work_dir)
    text = log.read_text()
    assert text.count("stopped as asked") == text.count("resuming") == 2, text
    assert_same(work_dir, reference)


def test_stages_are_requeued_like_single_networks(cluster: Cluster, tmp_path: Path) -> None:
    """BSN: one job trains TEM, generates candidates and trains PEM, whenever it is interrupted."""
    recipe, work_dir = "bsn_64x50_small_feature", tmp_path / "run"
    keys = write_planted(tmp_path / "planted", videos=24) | {"data.workers": "1", "data.batch_size": "4"}
    for stage in ("tem", "pem"):  # 200 epochs of 2 steps of 2 x 4
        keys |= {f"{stage}.schedule.epochs": "200", f"{stage}.training.log_every": "1"}
        keys |= {f"{stage}.training.val_every": "100"}
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in keys.items()]
    reference = undisturbed(cluster, tmp_path / "reference", *arguments, recipe=recipe)

    job, log = submit(cluster, "--work-dir", str(work_dir), *arguments, recipe=recipe)
    wait_for_step(cluster, job, work_dir, 20, stage="tem")
    cluster.call("scancel", "--signal=USR2", job)
    wait_for_step(cluster, job, work_dir, 20, stage="pem")
    cluster.call("scontrol", "requeue", job)
    state = cluster.end_of(job)
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "2"), said(work_dir)
    assert log.read_text().count("stopped as asked") == 2, log.read_text()
    assert_same(work_dir, reference)


def test_a_cancelled_job_saves_itself_and_stays_cancelled(cluster: Cluster, sample: Path, tmp_path: Path) -> None:
    job, _ = submit(cluster, "--work-dir", str(tmp_path), *options(sample))
    wait_for_step(cluster, job, tmp_path, 4)
    cluster.call("scancel", job)
    state = cluster.end_of(job)
    assert (state["JobState"], state["Restarts"]) == ("CANCELLED", "0"), said(tmp_path)
    saved = json.loads((tmp_path / "checkpoints/last/training.json").read_text())["position"]["step"]
    assert saved == max(row["step"] for row in rows(tmp_path)) >= 4


def test_faults_of_a_submission(cluster: Cluster, sample: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kinema", "submit", RECIPE, *SLURM, "--work-dir", str(tmp_path), *options(sample)]

    def refused(*more: str) -> str:
        done = subprocess.run([*command, *more], env=cluster.environment, capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "invalid partition" in refused("--partition", "nowhere")
    cluster.call("scontrol", "update", "PartitionName=main", "State=DOWN")
    try:
        job, _ = submit(cluster, "--work-dir", str(tmp_path), *options(sample))
        assert f"job {job} is queued or running in" in refused()
        cluster.call("scancel", job)
    finally:
        cluster.call("scontrol", "update", "PartitionName=main", "State=UP")
