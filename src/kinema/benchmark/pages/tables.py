"""Figures as rows of the benchmark's table, in Markdown."""

from collections.abc import Sequence

from kinema.benchmark.compare.results import Comparison
from kinema.benchmark.train import TrainFigures

HEADER = (
    "recipe", "input", "io backend", "batch size x processes", "s/iter", "median", "95 %", "waiting for data",
    "compute alone (s/iter)", "data alone (s/iter)", "videos/s", "memory (GiB)", "TFLOP/s", "of the matmul peak",
)  # fmt: skip


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [header, [":---", *[":---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def train_row(figures: TrainFigures) -> list[str]:
    """A measurement of `kinema benchmark train` under `HEADER`."""
    what, _, backend = figures.input.partition(", ")
    achieved = figures.flops_per_s
    return [
        figures.recipe,
        what,
        backend,
        f"{figures.batch_size}x{figures.processes}",
        seconds(figures.s_per_iter),
        seconds(figures.median),
        seconds(figures.p95),
        f"{figures.data_wait_share:.0%}",
        seconds(figures.compute_s_per_iter),
        seconds(figures.data_s_per_iter),
        f"{figures.videos_per_s:.3g}",
        f"{figures.memory_gib:.2f}",
        "–" if achieved is None else f"{achieved / 1e12:.3g}",
        "–" if achieved is None else f"{achieved / figures.matmul_flops_per_s:.0%}",
    ]


def seconds(value: float | None) -> str:
    """Three significant digits."""
    return "–" if value is None else f"{value:.3g}"


def notes(figures: Sequence[TrainFigures]) -> list[str]:
    """What must be known beside the table."""
    found = dict.fromkeys(
        f"{each.machine}; torch {each.torch}; {each.precision}; {each.iters} iterations after {each.skipped} that do "
        "not count."
        for each in figures
    )
    made = {each.data: [one.recipe for one in figures if one.data == each.data] for each in figures if each.data}
    said = [f"Measured on {data}, again and again: {', '.join(recipes)}." for data, recipes in made.items()]
    return [*found, *said]


COMPARED = (
    "model", "batch", "toolbox", "s/iter", "times Kinema's", "forward alone (s)", "memory (GiB)", "parameters (M)",
)  # fmt: skip


def compared_rows(comparison: Comparison) -> list[list[str]]:
    """A comparison's contenders under `COMPARED`, an x for those that do not run."""
    rows = []
    for name, result in comparison.results.items():
        figures = ["x"] * 5
        if not result.fault:
            ratio = comparison.ratio(name)
            figures = [seconds(result.s_per_iter), "–" if ratio is None else f"{ratio:.2f}", seconds(result.infer_s)]
            figures += [f"{result.memory_gib:.2f}", f"{result.parameters / 1e6:.2f}"]
        rows.append([comparison.title, str(comparison.batch_size), name, *figures])
    return rows


def compared_notes(comparisons: Sequence[Comparison]) -> list[str]:
    """Why some do not run, and what was worked around in others."""
    said = dict[str, list[str]]()
    for comparison in comparisons:
        for name, result in comparison.results.items():
            if result.fault:
                said.setdefault(f"{name}, x: {result.fault}", []).append(comparison.title)
            for note in result.notes:
                said.setdefault(f"{name}: {note}", []).append(comparison.title)
    return [f"{note} ({', '.join(titles)})." for note, titles in said.items()]
