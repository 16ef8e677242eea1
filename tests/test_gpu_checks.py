"""The checks for GPUs, as far as a CPU can take them: their frame, and each step with tiny networks."""

import json
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from benchmarks.gpu import runner
from benchmarks.gpu.machine import peak_tflops
from benchmarks.gpu.page import page
from benchmarks.gpu.runner import STEPS, Context, Step, run_steps
from benchmarks.gpu.stepping import NETWORKS, clip_flops

from kinema.models.complexity import complexity
from kinema.recipes import config_of

ROOT = Path(__file__).parents[1]


def add_step(monkeypatch: pytest.MonkeyPatch, name: str, function: object) -> Step:
    """A step whose module exists in this process, and so in those forked from it."""
    module = types.ModuleType(f"benchmarks.gpu.{name}")
    module.run = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Step(name=name, budget=1)


def good(context: Context) -> None:
    context.emit("numbers", one=1, ok=True)
    context.emit("numbers", two=None, left_out="a reason | with a bar")


def broken(context: Context) -> None:
    context.emit("numbers", before=1.5)
    raise ValueError("no such kernel")


def endless(context: Context) -> None:
    context.emit("numbers", before=2)
    subprocess.Popen(["sleep", "60"])
    (context.folder / "began").touch()
    while True:
        time.sleep(0.1)


def dies(_context: Context) -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


def test_a_broken_step_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SLOWER", 1)
    steps = [add_step(monkeypatch, each.__name__, each) for each in (broken, endless, dies, good)]
    report = run_steps(steps, device="cpu", short=True, folder=tmp_path, deadline=60)
    saved = json.loads((tmp_path / "gpu.json").read_text())["steps"]
    assert saved == json.loads(json.dumps(report.steps))
    assert {name: step["status"] for name, step in saved.items()} == {
        "broken": "failed", "endless": "over budget", "dies": "failed", "good": "done"
    }  # fmt: skip
    assert saved["broken"]["reason"] == "ValueError: no such kernel"
    assert [row["before"] for name in ("broken", "endless") for row in saved[name]["rows"]] == [1.5, 2]
    assert report.failed
    text = (tmp_path / "gpu.md").read_text()
    assert "a reason \\| with a bar" in text
    assert "no such kernel" in text


def test_the_deadline_holds_for_all_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SHORTEST", 1.0)
    steps = [add_step(monkeypatch, each.__name__, each) for each in (endless, good)]
    report = run_steps(steps, device="cpu", short=True, folder=tmp_path, deadline=1.5)
    assert report.steps["endless"]["status"] == "over budget"
    assert report.steps["good"]["status"] == "left out"
    assert "were left" in report.steps["good"]["reason"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_claimed(tmp_path: Path) -> None:
    report = run_steps(STEPS, device="cuda", short=False, folder=tmp_path, deadline=60)
    assert {step["status"] for step in report.steps.values()} == {"left out"}
    assert {step["reason"] for step in report.steps.values()} == {"torch detects no GPU"}


def test_a_failed_check_is_seen() -> None:
    row = {"table": "t", "ok": False, "what": "scores"}
    steps = {"a": {"status": "done", "reason": "", "seconds": 1.0, "rows": [row]}}
    report = runner.Report(device="cuda", short=False, deadline=1, steps=steps)
    assert report.failed
    assert "| a | t | **no** | scores |" in page({"device": "cuda", "short": False, "steps": steps})


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
    ],
)
def test_peaks_are_found_by_the_names_that_drivers_report(name: str, tflops: int) -> None:
    peak = peak_tflops(name)
    assert peak is not None
    assert peak[0] == tflops
    assert peak_tflops("NVIDIA GeForce GTX 1080") is None


@pytest.mark.parametrize("name", ["TSM r50", "R(2+1)D r34 8x8", "ViT-B (VideoMAE)"])
def test_flops_of_a_step_are_three_times_those_of_a_forward_pass(name: str) -> None:
    """But for the first layer, whose input needs no gradient."""
    config = config_of(NETWORKS[name])
    frames = config.data.train_clip.sampling.frames
    with torch.device("meta"):
        _, macs = complexity(config.model.build(), (1, 3, frames, 224, 224))
    assert clip_flops(NETWORKS[name]) == pytest.approx(3 * 2 * macs, rel=0.03)


def test_the_budgets_fit_the_deadline() -> None:
    """Of the steps that must not be cut."""
    valued = ("machine", "correct", "trainings", "speed", "traps", "factors")
    assert sum(step.budget for step in STEPS if step.name in valued) <= 450


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_step_runs_on_a_cpu(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--device", "cpu", "--short", "--output", str(tmp_path)]
    done = subprocess.run([*command, "--deadline", "1500"], cwd=ROOT, capture_output=True, text=True)
    steps = json.loads((tmp_path / "gpu.json").read_text())["steps"]
    assert {name: step["status"] for name, step in steps.items()} == {step.name: "done" for step in STEPS}, steps
    assert [row for step in steps.values() for row in step["rows"] if row.get("ok") is False] == []
    assert done.returncode == 0, done.stderr
