"""Trainings of a narrow TSM on drawn clips: the same losses on the device as on the CPU, whatever the options.

Two trainings drift apart by rounding alone. How far is measured: on the CPU, with Kinema's kernels and without. Losses
on the device must be within four times that, or 1e-3 of the loss where that is larger; in bf16 and fp16 within four
times the distance of the CPU's bf16 from its fp32.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from benchmarks.gpu.runner import Context
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh

from kinema import strict_json
from kinema.data.timetable import Phase, Timetable
from kinema.recipes import config_of
from kinema.runtime.device import RuntimeOptions, autocast, set_gpu_arithmetic, to_device
from kinema.runtime.processes import Process
from kinema.training import train
from kinema.training.optimization.optimizer import make_optimizer
from kinema.training.parallel.sharding import shard
from kinema.training.run import data_parallel

RECIPE = "tsm_r18_video_1x1x8_sample_rgb"
TINY = {
    "model.width": "8",
    "model.dropout": "0",
    "data.train_clip.crop.size": "32",
    "data.val_views.crops.size": "32",
    "data.val_views.crops.short_side": "32",
    "data.batch_size": "8",
    "data.workers": "0",
    "schedule.epochs": "2",
    "schedule.warmup_epochs": "0",
    "training.log_every": "1",
    "training.val_every": "2",
    "runtime.cudnn_benchmark": "false",
}
SAME_SUMS = {"model.norm_eval": "true", "schedule.epochs": "1"}
"""Batch norm's statistics depend on how a batch is divided."""
FACTOR, LEAST = 4.0, 1e-3


class Trainings:
    """Runs trainings and compares their losses."""

    def __init__(self, context: Context) -> None:
        self.context, self.folder = context, context.folder
        draw_sample(self.folder / "data", train=4, val=1)
        self.losses: dict[str, list[float]] = {}

    def options(self, device: str, **values: str) -> dict[str, str]:
        """The options of a training by dotted key, in which `__` stands for a dot."""
        data = {f"data.{split}": str(self.folder / "data" / split) for split in ("train", "val")}
        own = {key.replace("__", "."): value for key, value in values.items()}
        tf32 = {} if "runtime.tf32" in own else {"runtime.tf32": "false"}
        return TINY | data | {"runtime.device": device} | tf32 | own

    def run(self, name: str, device: str, **values: str) -> list[float]:
        """Train; return the loss of each step."""
        work_dir = self.folder / name.replace(" ", "_")
        train(config_of(RECIPE, self.options(device, **values)), work_dir=work_dir)
        self.losses[name] = losses_of(work_dir)
        return self.losses[name]

    def compare(self, name: str, reference: str, bound: float, **values: str) -> None:
        """Train on the device, and check the losses against those of another training."""
        try:
            own, expected = self.run(name, self.context.device.type, **values), self.losses[reference]
        except Exception as error:
            self.context.emit("losses", training=name, ok=False, error=f"{type(error).__name__}: {str(error)[:200]}")
            return
        self.report(name, reference, own, expected, bound)

    def report(self, name: str, reference: str, own: list[float], expected: list[float], bound: float) -> None:
        """Save how far two trainings are apart."""
        off = distance(own, expected)
        self.context.emit(
            "losses", training=name, beside=reference, ok=off <= bound, off=off, bound=bound, last=own[-1]
        )


def draw_sample(folder: Path, *, train: int, val: int) -> None:
    """Draw so many clips of each class with the command, whose processes cannot be started from a forked one."""
    numbers = ["--train-per-class", str(train), "--val-per-class", str(val)]
    subprocess.run([sys.executable, "-m", "kinema", "prepare", "sample", str(folder), *numbers], check=True)


def losses_of(work_dir: Path) -> list[float]:
    rows = map(json.loads, (work_dir / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if row["split"] == "train"]


def distance(one: list[float], other: list[float]) -> float:
    """Return the largest difference of losses, relative to the larger one; infinite if their number differs."""
    if len(one) != len(other):
        return 1e9
    return max(abs(a - b) / max(abs(a), abs(b)) for a, b in zip(one, other, strict=True))


def run(context: Context) -> None:
    """Train with each option."""
    trainings = Trainings(context)
    base = trainings.run("CPU fp32", "cpu")
    plain = trainings.run("CPU fp32 without kernels", "cpu", runtime__kernels="false")
    low = FACTOR * distance(trainings.run("CPU bf16", "cpu", runtime__precision="bf16"), base)
    bound = max(LEAST, FACTOR * distance(plain, base))
    trainings.compare("fp32", "CPU fp32", bound)
    trainings.run("CPU clip", "cpu", optim__clip_norm="0.5")
    trainings.compare("clip", "CPU clip", bound, optim__clip_norm="0.5")
    trainings.compare("bf16", "CPU bf16", max(low, bound), runtime__precision="bf16")
    trainings.run("whole batches", context.device.type, **_keys(SAME_SUMS))
    trainings.compare(
        "accumulated", "whole batches", bound, data__batch_size="2", training__accumulate="4", **_keys(SAME_SUMS)
    )
    _average(trainings, bound)
    if not context.gpu:
        for name in ("fp16", "tf32", "graphs"):
            context.emit("losses", training=name, left_out="needs a GPU")
    else:
        trainings.compare("fp16", "CPU fp32", max(low, bound), runtime__precision="fp16")
        trainings.compare("tf32", "CPU fp32", max(low, bound), runtime__tf32="true")
    _wrapped(trainings)
    if context.left() > 15:
        _resumed(trainings, bound)
    if context.short:
        context.emit("losses", training="compiled", left_out="takes minutes on a CPU")
        return
    for name in ("true", *(["graphs"] if context.gpu else [])):
        trainings.compare(f"compile {name}", "fp32", max(0.02, bound), runtime__compile=name)


def _keys(values: dict[str, str]) -> dict[str, str]:
    return {key.replace(".", "__"): value for key, value in values.items()}


def _average(trainings: Trainings, bound: float) -> None:
    """The moving average of the weights, which is what the checkpoint holds."""
    weights = []
    for device in ("cpu", trainings.context.device.type):
        name = f"moving average {device} {len(weights)}"
        trainings.run(name, device, training__ema_decay="0.9")
        file = trainings.folder / name.replace(" ", "_") / "checkpoints/last/model.safetensors"
        weights.append({key: value for key, value in load_file(file).items() if value.is_floating_point()})
    one, other = (torch.cat([value.flatten() for value in each.values()]).double() for each in weights)
    off = float((one - other).norm() / one.norm())
    trainings.context.emit("losses", training="moving average", beside="CPU", ok=off <= bound, off=off, bound=bound)


def _wrapped(trainings: Trainings) -> None:
    """Steps of one process with DDP and with sharded weights, over nccl on a GPU and gloo on a CPU."""
    context = trainings.context
    device = torch.device("cuda", 0) if context.gpu else context.device
    config = config_of(RECIPE, trainings.options(device.type))
    if context.gpu:
        torch.cuda.set_device(device)
        set_gpu_arithmetic(RuntimeOptions(tf32=False, cudnn_benchmark=False))
    store = dist.FileStore(str(context.folder / "store"), 1)  # type: ignore[attr-defined]
    dist.init_process_group("cpu:gloo,cuda:nccl" if context.gpu else "gloo", store=store, rank=0, world_size=1)
    task = config.task.open(config, Process(device=device))
    batch = None
    own: dict[str, list[float]] = {}
    for name in ("plain", "DDP", "fully_shard"):
        model = to_device(task.empty_model(), device, config.runtime).train()
        network: Any = model
        if name == "DDP":
            network = data_parallel(model, device)
        elif name == "fully_shard":
            shard(model, init_device_mesh(device.type, (1,)))
        optimizer = make_optimizer(model, config.optim, total_batch=8)
        if batch is None:
            batch = next(iter(task.statistics_batches(_timetable(task)))).to(device)
        own[name] = []
        for _ in range(8):
            with autocast(device, config.runtime):
                loss = task.loss(network, batch).total
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            own[name].append(loss.item())
    over = "nccl" if context.gpu else "gloo"
    for name in ("DDP", "fully_shard"):
        trainings.report(f"{name}, one process over {over}", "plain", own[name], own["plain"], LEAST)
    dist.destroy_process_group()


def _timetable(task: Any) -> Any:
    return Timetable(task.num_train, 8, [Phase(epochs=1)], batches=1)


_TRAIN = """
import json, sys
from kinema.training import train
from kinema.recipes import config_of
train(config_of(sys.argv[1], json.loads(sys.argv[2])), work_dir=sys.argv[3], resume=True)
"""


def _resumed(trainings: Trainings, bound: float) -> None:
    """A training that is killed and resumed, beside one that was left alone, with deterministic algorithms."""
    context = trainings.context
    options = trainings.options(context.device.type, training__checkpoint_every="3", runtime__deterministic="true")

    def start(name: str) -> subprocess.Popen[str]:
        # Not the command, which draws curves: matplotlib and tensorboard may be missing.
        command = [sys.executable, "-c", _TRAIN, RECIPE, strict_json.dumps(options), str(trainings.folder / name)]
        return subprocess.Popen(command, text=True, stderr=subprocess.PIPE, start_new_session=True)

    whole, killed = start("whole"), start("killed")
    metrics = trainings.folder / "killed" / "metrics.jsonl"
    while not (metrics.exists() and '"step": 4,' in metrics.read_text()):
        if killed.poll() is not None:
            break
        time.sleep(0.005)
    ended = killed.poll() is None
    if ended:
        os.killpg(killed.pid, signal.SIGKILL)
    said = killed.communicate()[1]
    resumed = start("killed")
    errors = [said if not ended else "", whole.communicate()[1], resumed.communicate()[1]]
    if not ended or whole.returncode or resumed.returncode:
        context.emit("losses", training="resumed after SIGKILL", ok=False, error=" | ".join(errors)[-400:])
        return
    one, other = losses_of(trainings.folder / "whole"), losses_of(trainings.folder / "killed")
    trainings.report("resumed after SIGKILL", "left alone", other, one, bound)
    files = [trainings.folder / name / "checkpoints/last/model.safetensors" for name in ("whole", "killed")]
    same = files[0].read_bytes() == files[1].read_bytes()
    context.emit("losses", training="resumed after SIGKILL: weights identical to the bit", ok=same)
