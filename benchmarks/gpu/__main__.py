"""Check Kinema on a GPU and measure it, in one command of at most eight minutes on one H100 or H200.

    python -m benchmarks.gpu [--output gpu_results] [--deadline 450] [--steps NAME …]
    python -m benchmarks.gpu --device cpu --short      the same code with tiny networks: proves that it runs

It needs no network and no FFmpeg of the system. The steps run one after the other, the most valuable first, each in a
process of its own with a time limit: one that fails or takes too long costs only itself. `gpu.json` in the output
folder holds what is known so far, `gpu.md` the same as a page, `log.txt` what the steps printed. What cannot be checked
is listed with the reason; figures that were not measured stay blank.

The exit code is 1 if a check failed or a step broke.
"""

import argparse
import sys
from pathlib import Path

from benchmarks.gpu.runner import STEPS, run_steps


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu_results"), help="folder for gpu.json, gpu.md, log.txt")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--short", action="store_true", help="tiny networks and fewer checks")
    parser.add_argument("--deadline", type=float, default=450, help="seconds for everything")
    parser.add_argument("--steps", nargs="+", choices=[step.name for step in STEPS], help="only these")
    options = parser.parse_args()
    steps = [step for step in STEPS if not options.steps or step.name in options.steps]
    report = run_steps(
        steps, device=options.device, short=options.short, folder=options.output, deadline=options.deadline
    )
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())
