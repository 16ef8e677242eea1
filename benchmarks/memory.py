"""Peak memory and seconds of a few training steps with the options that save memory, beside those without.

    python benchmarks/memory.py RECIPE --data VIDEOS [--processes 2] [--options OPTION=VALUE …]
        --variant NAME [OPTION=VALUE …] [--variant …]

Each variant is `kinema benchmark train` on the CPU with as many processes; memory is the mean of their peaks, resident.
VIDEOS is a folder with a folder per class. --options hold for all variants, such as
data.train_clip.crop.size=112. The row "nothing" is a process that has only loaded the program.
"""

import argparse
import json
import os
import subprocess
import sys


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--options", nargs="*", default=[])
    parser.add_argument("--variant", nargs="+", action="append", required=True)
    parser.add_argument("--steps", type=int, default=3, help="that count, after one that does not")
    arguments = parser.parse_args()
    print(f"{arguments.recipe}, {arguments.processes} processes, {' '.join(arguments.options)}\n")
    print("| variant | peak GiB of a process | of the first | s/iter | of the first |\n|---|---|---|---|---|")
    print(f"| nothing | {loaded():.2f} | | | |", flush=True)
    first: tuple[float, float] | None = None
    for name, *settings in arguments.variant:
        memory, seconds = measured(arguments, settings)
        first = first or (memory, seconds)
        shares = f"{memory / first[0]:.2f} | {seconds:.2f} | {seconds / first[1]:.2f}"
        print(f"| {name} | {memory:.2f} | {shares} |", flush=True)


def measured(arguments: argparse.Namespace, settings: list[str]) -> tuple[float, float]:
    options = {
        "data.train": arguments.data, "data.val": "", "data.source": "video", "data.workers": "0",
        "training.sync_bn": "false",
        **dict(each.split("=", 1) for each in [*arguments.options, *settings]),
    }  # fmt: skip
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={arguments.processes}"]
    measure = ["--iters", str(arguments.steps), "--skip", "1", "--parts", "0", "--json"]
    command = [sys.executable, *launcher, "-m", "kinema", "benchmark", "train", arguments.recipe, *measure]
    command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(command, env={"OMP_NUM_THREADS": "1"} | os.environ, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    figures = json.loads(done.stdout)
    return figures["memory"]["process"] / arguments.processes, figures["s_per_iter"]


def loaded() -> float:
    program = "import torch, kinema.benchmark.measure.steps as s; print(s.peak_memory(torch.device('cpu')).process)"
    return float(subprocess.check_output([sys.executable, "-c", program], text=True))


if __name__ == "__main__":
    main()
