"""Proposals of a localizer beside those that know nothing: random segments and sliding windows.

python examples/proposal_baselines.py truth.json runs/bmn/test/results.json runs/bsn/test/results.json …
    [--subset validation]

Prints AR@1, AR@5, AR@10, AR@100 and AUC. Random: 100 segments a video, both ends uniform. Sliding windows: of lengths
1/2, 1/4 … 1/32 of the video, each moved by half its length; shuffled, as nothing says which is better. Both are means
of five draws.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kinema.console import print_table
from kinema.tasks.localization.metrics.annotations import GroundTruth, read_ground_truth, read_results
from kinema.tasks.localization.metrics.evaluation import proposal_metrics
from kinema.tasks.localization.metrics.results import Proposals, as_results

COLUMNS = ("AR@1", "AR@5", "AR@10", "AR@100", "AUC")
DRAWS = 5
Make = Callable[[float, np.random.Generator], Proposals]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ground_truth", type=Path)
    parser.add_argument("results", type=Path, nargs="*")
    parser.add_argument("--subset", default="validation")
    arguments = parser.parse_args()
    truth = read_ground_truth(arguments.ground_truth, subset=arguments.subset)
    rows = [("random segments", *baseline(truth, random_segments)), ("sliding windows", *baseline(truth, windows))]
    for path in arguments.results:
        found = proposal_metrics(truth, read_results(path, truth, labelled=False))
        rows.append((str(path), *(found[column] for column in COLUMNS)))
    print_table(("proposals", *COLUMNS), [(name, *(f"{value:.4f}" for value in values)) for name, *values in rows])


def baseline(truth: GroundTruth, make: Make) -> list[float]:
    """COLUMNS, as means over draws."""
    draws = []
    for seed in range(DRAWS):
        random = np.random.default_rng(seed)
        made = {row: make(float(seconds), random) for row, seconds in enumerate(truth.durations)}
        found = proposal_metrics(truth, as_results(made))
        draws.append([found[column] for column in COLUMNS])
    return np.mean(draws, axis=0).tolist()


def random_segments(seconds: float, random: np.random.Generator) -> Proposals:
    return Proposals(segments=np.sort(random.uniform(0, seconds, (100, 2)), axis=1), scores=random.uniform(size=100))


def windows(seconds: float, random: np.random.Generator) -> Proposals:
    lengths = seconds / 2.0 ** np.arange(1, 6)
    segments = np.concatenate(
        [np.arange(0, seconds - length / 2, length / 2)[:, None] + [0, length] for length in lengths]
    ).clip(0, seconds)
    return Proposals(segments=segments, scores=random.uniform(size=len(segments)))


if __name__ == "__main__":
    main()
