"""Measurements as Markdown tables."""

from collections.abc import Sequence

from kinema.benchmark.compare.results import Comparison
from kinema.benchmark.train import TrainFigures

HEADER = (
    "recipe", "input", "io backend", "batch size x processes", "s/iter", "median", "95 %", "waiting for data",
    "compute alone (s/iter)", "data alone (s/iter)", "videos/s", "memory (GiB)", "TFLOP/s", "of the matmul peak",
)  # fmt: skip


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, its first column left-aligned, the others centered."""
    lines = [header, [":---", *[":---:"] * (len(header) - 1)], *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def train_row(figures: TrainFigures) -> list[str]:
    """Row of `kinema benchmark train` under `HEADER`."""
    kind, _, backend = figures.input.partition(", ")
    labels = [figures.recipe, kind, backend, f"{figures.batch_size}x{figures.processes}"]
    return [*labels, *cost(figures)]


def cost(figures: TrainFigures) -> list[str]:
    """Cells of a row's columns from s/iter on."""
    achieved = figures.flops_per_s
    return [
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
    """Format to three significant digits; – for None."""
    return "–" if value is None else f"{value:.3g}"


def notes(figures: Sequence[TrainFigures]) -> list[str]:
    """Notes below the table: machine, versions, iterations and generated data."""
    conditions = dict.fromkeys(
        f"{one.machine}; torch {one.torch}; {one.precision}; {one.iters} iterations after {one.skipped} of warm-up."
        for one in figures
    )
    recipes_of = dict[str, list[str]]()
    for one in figures:
        if one.data:
            recipes_of.setdefault(one.data, []).append(one.recipe)
    return [*conditions, *(f"Measured on {data}, repeated: {', '.join(names)}." for data, names in recipes_of.items())]


COMPARED = (
    "model", "batch", "toolbox", "s/iter", "ratio to Kinema", "forward pass (s)", "memory (GiB)", "parameters (M)",
)  # fmt: skip


def compared_rows(comparison: Comparison) -> list[list[str]]:
    """Rows of a comparison's contenders under `COMPARED`; x for those that could not run."""
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
    """Errors of contenders that could not run, and workarounds of the others, with the models concerned."""
    titles_of = dict[str, list[str]]()
    for comparison in comparisons:
        for name, result in comparison.results.items():
            if result.fault:
                titles_of.setdefault(f"{name}, x: {result.fault}", []).append(comparison.title)
            for note in result.notes:
                titles_of.setdefault(f"{name}: {note}", []).append(comparison.title)
    return [f"{note} ({', '.join(titles)})." for note, titles in titles_of.items()]
