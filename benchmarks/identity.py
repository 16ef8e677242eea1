"""Whether two trees of the source compute the same bits: tiny trainings of every kind, hashed.

    python -m benchmarks.identity [--tree CHECKOUT] [--cases PATTERN] > a.json
    python -m benchmarks.identity --compare a.json b.json

Each case calls `python -m kinema` of CHECKOUT (by default this one) on drawn clips or random features, on one thread,
and prints a line of JSON: what its commands printed with `--json`, the rows of `metrics.jsonl` without times and
memory, and a hash of the arrays in each file of weights, scores, features or candidates. Trees that compute the same
print the same on one machine; other CPUs round differently.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from tests.assets.old_data import write_flow_lists, write_multi_label_list
from tests.tasks.localization.planted import write_planted

Command = list[str]

_NOT_COMPARED = ("split", "step_time", "data_time", "memory_gib", "samples_per_second")
_END = "\x1e"
_WORKER = f"""
import json, os, runpy, sys
import av, numba, torch, torchmetrics, torchvision
import torch.utils.tensorboard
for line in sys.stdin:
    commands = json.loads(line)
    if process := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
        continue
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    for command in commands:
        sys.argv = ["kinema", *command]
        try:
            runpy.run_module("kinema", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code:
                raise
        print({_END!r}, flush=True)
    sys.exit()
"""
"""Runs the commands of each line in a fork of their own, so that torch and other libraries are imported once."""

SHORT = "--data.workers 0 --data.batch-size 4 --training.log-every 1"
SCHEDULE = "--schedule.epochs 2"
VIDEOS = "--data.train sample/train --data.val sample/val"
PIXELS = " ".join(
    f"--{clip}.{size} 32" for clip in ("val-views.crops", "test-views.crops") for size in ("short-side", "size")
)
RECOGNIZER = f"{SHORT} {PIXELS} --train-clip.crop.size 32 --training.val-every 1"
TSM = f"tsm_r18_video_1x1x8_sample_rgb {RECOGNIZER} {SCHEDULE} --model.width 8"
CLIP = "sample/val/moving_left/moving_left_0000.mp4"
BMN = (
    "bmn_64x50_small_feature --model.hidden-1d 16 --model.hidden-2d 8 --model.hidden-3d 16 --model.samples 4 "
    f"{SHORT} {SCHEDULE} --schedule.milestones 1"
)
TRUTH = "--data.ground-truth planted/truth.json --data.features planted/features"


@dataclass(kw_only=True)
class Case:
    """Commands, and what is compared of what they write."""

    commands: list[str]
    files: list[str] = field(default_factory=list)
    """Patterns of files beside those of a run: arrays are hashed, and of others the bytes."""
    processes: int = 1
    """Started by torchrun where there are several: then each command in processes of its own."""


def small(recipe: str, options: str = "", *, data: str = VIDEOS, classes: int = 8) -> Case:
    """A recognizer's training, test and dumped scores."""
    run = recipe.split("_")[0]
    return Case(
        commands=[
            f"train {recipe} --model.num-classes {classes} {data} {RECOGNIZER} {SCHEDULE} {options} --work-dir {run}",
            f"test {run} --dump {run}/scores.npz --json",
        ]
    )


CASES: dict[str, Case] = {
    "tsm": Case(
        commands=[
            f"train {TSM} {VIDEOS} --work-dir tsm",
            "test tsm --dump tsm/scores.npz --json",
            "test tsm --test-views.crops.crops three --test-views.sampling.twice true --work-dir tsm/views "
            "--dump tsm/views.npz --json",
            f"predict tsm {CLIP} --top 8 --json",
            "prepare features tsm sample/val --output tsm_features --parts 4 --workers 1",
        ],
        files=["tsm_features/**/*.npy"],
    ),
    "init": Case(
        commands=[
            f"train {TSM} {VIDEOS} --work-dir init --init tsm --optim.layer-decay 0.5 --model.frozen-stages 1 "
            "--model.norm-eval true --task.label-smoothing 0.1 --model.gradient-checkpointing true",
        ]
    ),
    "resumed": Case(
        commands=[
            f"train {TSM} {VIDEOS} --schedule.epochs 1 --work-dir resumed",
            "train --resume --schedule.epochs 2 --work-dir resumed",
        ]
    ),
    "stabilized": Case(
        commands=[
            f"train {TSM} {VIDEOS} --training.precise-bn 3 --training.ema-decay 0.9 --training.accumulate 2 "
            "--optim.clip-norm 0.5 --data.batch-size 2 --work-dir stabilized"
        ]
    ),
    "mixed": Case(
        commands=[
            f"train {TSM} {VIDEOS} --task.mixup 0.8 --task.cutmix 1 --train-clip.augment.rand-augment 2 "
            "--train-clip.augment.color-jitter 0.4 --train-clip.augment.random-erasing 0.5 --train-clip.crop.flip 0.5 "
            "--train-clip.crop.flip-pairs 2:3 --work-dir mixed"
        ]
    ),
    "bf16": Case(commands=[f"train {TSM} {VIDEOS} --runtime.precision bf16 --data.workers 1 --work-dir bf16"]),
    "plain": Case(commands=[f"train {TSM} {VIDEOS} --runtime.kernels false --work-dir plain"]),
    "rawframes": Case(
        commands=[f"train {TSM} --data.source rawframes --data.train frames/frames.csv --data.val frames/frames.csv "
                  "--train-clip.repeats 2 --work-dir rawframes"]
    ),
    "packed": Case(
        commands=[f"train {TSM} --data.source packed --data.train packed/packed.csv --data.val packed/packed.csv "
                  "--work-dir packed_run"]
    ),
    "multi_label": Case(
        commands=[
            f"train {TSM} --task.labels multi --data.train labels.csv --data.val labels.csv --work-dir multi_label",
            "test multi_label --dump multi_label/scores.npz --json",
        ]
    ),
    "flow": small(
        "tsn_r50_1x1x3_110e_kinetics400_flow",
        "--model.pretrained none --model.depth 18 --model.width 8 --schedule.milestones 1",
        data="--data.source flow --data.train flow/list.txt --data.val flow/list.txt",
    ),
    "slowfast": small(
        "slowfast_multigrid_r50_8x8x1_358e_kinetics400_rgb",
        "--data.source video --model.depth 18 --model.width 16 --data.batch-size 1 --training.precise-bn 2 "
        "--train-clip.crop.size 64 --schedule.epochs 4 --schedule.milestones 2 --test-views.sampling.num-clips 2",
    ),
    "slowonly": small("slowonly_r18_video_8x4x1_small_rgb", "--model.width 8"),
    "r2plus1d": small("r2plus1d_r18_video_16x2x1_small_rgb", "--model.width 8"),
    "i3d": small(
        "i3d_r50_nl_dot_product_32x2x1_100e_kinetics400_rgb",
        "--data.source video --model.pretrained none --model.width 8 --schedule.milestones 1 "
        "--train-clip.sampling.clip-len 8 --val-views.sampling.clip-len 8 --test-views.sampling.clip-len 8 "
        "--test-views.sampling.num-clips 2",
    ),
    "bmn": Case(
        commands=[
            f"train {BMN} {TRUTH} --work-dir bmn",
            "test bmn --json",
            "evaluate proposals --results bmn/test/results.json --subset validation --json "
            "--ground-truth planted/truth.json",
        ],
        files=["bmn/test/results.json"],
    ),
    "bsn": Case(
        commands=[
            f"train bsn_64x50_small_feature --data.workers 0 --data.batch-size 4 {TRUTH} "
            + " ".join(f"--{stage}.schedule.{key}" for stage in ("tem", "pem") for key in ("epochs 2", "milestones 1"))
            + " --work-dir bsn",
            "test bsn --json",
        ],
        files=["bsn/candidates/*.npz", "bsn/test/results.json"],
    ),
    "processes": Case(
        commands=[
            f"train {TSM} {VIDEOS} --data.batch-size 2 --training.sync-bn false --work-dir processes",
            "test processes --dump processes/scores.npz",
        ],
        processes=2,
    ),
}  # fmt: skip
DATA = Case(
    commands=[
        "prepare sample sample --train-per-class 2 --val-per-class 1 --workers 1",
        "prepare frames sample/train frames --workers 1",
        "prepare pack sample/train packed --workers 1",
    ],
    files=["sample/**/*.mp4", "frames/**/*.*", "packed/**/*.*"],
)


def outcome(name: str, case: Case, worker: subprocess.Popen[str]) -> dict[str, Any]:
    """Run a case in the current folder."""
    before = set(Path().iterdir())
    output = _run(case, worker)
    folders = [path for path in set(Path().iterdir()) - before if path.is_dir()] if name != "data" else []
    found: dict[str, Any] = {"case": name, "printed": output}
    metrics = sorted(file for folder in folders for file in folder.rglob("metrics.jsonl"))
    found["rows"] = {str(file): _rows(file) for file in metrics}
    kept = [pattern for folder in sorted(folders) for pattern in (f"{folder}/**/*.safetensors", f"{folder}/*.npz")]
    files = sorted({file for pattern in [*kept, *case.files] for file in Path().glob(pattern) if file.is_file()})
    found["files"] = {str(file): _digest(file) for file in files}
    if name == "data":  # thousands of images
        found["files"] = {"all": hashlib.sha256(json.dumps(found["files"]).encode()).hexdigest()}
    return found


def _run(case: Case, worker: subprocess.Popen[str]) -> list[Any]:
    """Run the commands; returns what those with `--json` printed."""
    commands = [_arguments(command) for command in case.commands]
    if case.processes > 1:
        launcher = ["-m", "torch.distributed.run", f"--nproc-per-node={case.processes}", "--standalone", "-m", "kinema"]
        for command in commands:
            subprocess.run([sys.executable, *launcher, *command], check=True, capture_output=True)
        return []
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(json.dumps(commands), file=worker.stdin, flush=True)
    if int(worker.stdout.readline()):
        raise SystemExit(Path("stderr").read_text()[-3000:])
    printed = Path("stdout").read_text().split(_END)
    return [json.loads(text) for command, text in zip(commands, printed, strict=False) if "--json" in command]


def _arguments(command: str) -> Command:
    """Split a command; of an option that is given twice the last values hold."""
    positional, *options = command.split(" --")
    values = {name: rest for name, *rest in map(str.split, options)}
    return positional.split() + [word for name, rest in values.items() for word in (f"--{name}", *rest)]


def _rows(file: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, file.read_text().splitlines())
    return [{name: value for name, value in row.items() if name not in _NOT_COMPARED} for row in lines]


def _digest(file: Path) -> str:
    """SHA-256 of a file's arrays with their names, or of its bytes."""
    if file.suffix not in (".npz", ".npy", ".safetensors"):
        return hashlib.sha256(file.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for name, array in sorted(_arrays(file)):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _arrays(file: Path) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    if file.suffix == ".safetensors":
        for name, tensor in load_file(file).items():
            yield name, tensor.numpy()
    elif file.suffix == ".npy":
        yield "", np.load(file)
    else:
        with np.load(file) as arrays:
            for name in arrays.files:
                yield name, arrays[name]


def compare(one: Path, other: Path) -> int:
    """Print where two files of outcomes differ; returns 1 where they do, or where one lacks a case."""
    first, second = (
        {line["case"]: line for line in map(json.loads, path.read_text().splitlines()) if "case" in line}
        for path in (one, other)
    )
    differences = [f"{name}: only in one of the two" for name in first.keys() ^ second.keys()]
    for name in first.keys() & second.keys():
        differences += [f"{name}: {text}" for text in _differences(first[name], second[name])]
    print("\n".join(sorted(differences)) or f"{len(first)} cases agree")
    return int(bool(differences))


def _differences(one: Any, other: Any, where: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from _differences(one.get(key), other.get(key), f"{where} {key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, f"{where} [{number}]")
    elif one != other:
        yield f"{where.strip()}: {str(one)[:100]} → {str(other)[:100]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[1], help="a checkout of Kinema")
    parser.add_argument("--cases", default="*", help="a pattern of their names; `init` continues `tsm`")
    parser.add_argument("--compare", type=Path, nargs=2, help="two files that this program printed")
    options = parser.parse_args()
    if options.compare:
        return compare(*options.compare)
    os.environ |= {
        "PYTHONPATH": str(options.tree.resolve() / "src"),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",
    }
    print(json.dumps({"cpu": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__}), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        worker = subprocess.Popen(
            [sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        print(json.dumps(outcome("data", DATA, worker)), flush=True)
        write_flow_lists(Path("flow"))
        write_multi_label_list(Path("labels.csv"), Path("sample/train"))
        write_planted(Path("planted"), videos=12)
        for name, case in CASES.items():
            if fnmatch(name, options.cases):
                print(json.dumps(outcome(name, case, worker)), flush=True)
        worker.communicate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
