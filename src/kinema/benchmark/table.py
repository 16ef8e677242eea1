"""Figures as rows of the benchmark's table, in Markdown."""

from collections.abc import Sequence

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
