"""`docs/benchmark.md`: the benchmark's tables, filled with the measurements of the suite."""

from collections.abc import Sequence

from kinema.benchmark.compare.results import BEST, OWN, Comparison
from kinema.benchmark.compare.rows import PEERS, ROWS
from kinema.benchmark.pages.tables import compared_notes, cost, markdown, seconds
from kinema.benchmark.suite import INPUTS, Input, Measurements

TRAINED = (
    "Model", "input", "io backend", "batch size x processes", "s/iter", "95 %", "waiting for data",
    "compute alone (s/iter)", "data alone (s/iter)", "videos/s", "memory (GiB)", "GFLOP/s", "of the matmul peak",
)  # fmt: skip
RECOGNIZERS = ("MMAction2", "MMAction", "Temporal-Shift-Module", "PySlowFast", "pytorchvideo", "torchvision")
LOCALIZERS = ("MMAction2", "BSN", "BMN")
_FORMS = {"rawframes": "256p rawframes", "video": "256p videos", "dense": "256p dense-encoded video", None: "features"}
_LOCALIZED = ("tem", "pem", "bmn")


def page(measurements: Measurements, *, command: str) -> str:
    """Return the page in Markdown; `command` reproduces its measurements."""
    compared = measurements.compared
    parts = [
        "# Benchmark",
        _introduction(measurements),
        "## Training with its data",
        "Training with `kinema train`, data loading included, as the benchmark defines it: the mean of s/iter after "
        "warm-up. The data loaders of other toolboxes are not measured; their training steps are below.",
        markdown(TRAINED, [_trained_row(one, measurements) for one in INPUTS]),
        "## Training steps beside other toolboxes",
        "Forward pass, loss, backward pass, gradient clipping and optimizer step on a batch already in memory, each in "
        "the toolbox's own code and process; the contenders of a row were timed in turn. In brackets: the ratio to "
        "Kinema in fp32, median over rounds; below 1.00 the toolbox is faster than Kinema. x: the toolbox has no such "
        "model or cannot run it, for the reasons given below.",
        "### Recognizers (s/iter, GiB)",
        _steps([row for row in ROWS if row not in _LOCALIZED], RECOGNIZERS, compared),
        "### Localizers (s/iter, GiB)",
        _steps(_LOCALIZED, LOCALIZERS, compared),
        "The benchmark compares I3D heavy (33.0 M parameters) with PySlowFast's I3D (28.0 M), which is another model: "
        "the row *I3D 8x8* has PySlowFast's model in both toolboxes.",
        "### Forward passes alone (s)",
        _forward(compared),
        "## Against the fastest peer",
        "Step time of the fastest peer divided by Kinema's; above 1.00 Kinema is faster.",
        markdown(_GOAL_HEADER, [_goal_row(compared[row]) for row in ROWS if row in compared]),
        _disturbed(list(compared.values())),
        "## Failures and workarounds",
        "".join(f"- {note}\n" for note in _reasons(list(compared.values()))),
        "## Reproducing the measurements",
        f"```shell\n{command}\n```",
        "Each call continues where the last one ended; to repeat a measurement, remove its JSON file.",
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


_GOAL_HEADER = (
    "Model", "fastest peer", "fp32", "best precision", "memory fp32 / peer", "memory best precision / peer",
)  # fmt: skip


def _introduction(measurements: Measurements) -> str:
    trained, compared = list(measurements.trained.values()), list(measurements.compared.values())
    machines = dict.fromkeys([*(one.machine for one in trained), *(one.machine for one in compared)])
    versions = dict.fromkeys(
        f"{name} {version}"
        for comparison in compared
        for result in comparison.results.values()
        for name, version in result.versions.items()
    )
    lines = [
        "Written by `kinema benchmark suite spec`, after the [training-speed benchmark of MMAction2]"
        "(https://github.com/open-mmlab/mmaction2/blob/0.x/docs/en/benchmark.md).",
        "",
        f"- Machine: {'; '.join(machines)}. The benchmark's had 8 V100: batch sizes are scaled, as rows say.",
        f"- Versions: {', '.join(versions)}. fp32 unless noted.",
    ]
    if trained:
        counts = dict.fromkeys(f"{one.iters} after {one.skipped} of warm-up" for one in trained)
        data = dict.fromkeys(one.data for one in trained if one.data)
        lines.append(f"- Iterations: {', '.join(counts)}. Data: {', '.join(data)}.")
    if any(one.disturbed for one in compared):
        lines.append(
            "- Other programs ran on the machine: times are too long, above all of training with data loading. "
            "Contenders were timed in turn and can be compared; see CPU time below."
        )
    if measurements.missing:
        lines.append(f"- Not measured yet (–): {', '.join(measurements.missing)}.")
    return "\n".join(lines)


def _trained_row(one: Input, measurements: Measurements) -> list[str]:
    title, figures = ROWS[one.row].title, measurements.trained.get(one.name)
    labels = [title, _FORMS[one.form], "Memcached" if one.storage == "memcached" else "Disk"]
    if figures is None:
        return [*labels, *["–"] * (len(TRAINED) - len(labels))]
    batch = f"{figures.batch_size}x{figures.processes} (benchmark: {ROWS[one.row].spec_batch})"
    mean, _, *others, _, of_peak = cost(figures)
    achieved = "–" if figures.flops_per_s is None else f"{figures.flops_per_s / 1e9:.0f}"
    return [*labels, batch, f"**{mean}**", *others, achieved, of_peak]


def _steps(rows: Sequence[str], peers: Sequence[str], compared: dict[str, Comparison]) -> str:
    header = [
        "Model",
        "batch size",
        *(name for toolbox in (OWN, BEST, *peers) for name in (f"{toolbox} (s/iter)", "mem")),
    ]
    return markdown(header, [_steps_row(row, peers, compared.get(row)) for row in rows])


def _steps_row(row: str, peers: Sequence[str], comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return [ROWS[row].title, *["–"] * (1 + 2 * (2 + len(peers)))]
    cells = [ROWS[row].title, str(comparison.batch_size)]
    for name in (OWN, BEST, *peers):
        result = comparison.results.get(name)
        if result is None or result.fault:
            cells += ["x", "x"]
        else:
            ratio = comparison.ratio(name)
            brackets = "" if name == OWN or ratio is None else f" ({ratio:.2f})"
            cells += [f"{seconds(result.s_per_iter)}{brackets}", f"{result.memory_gib:.2f}"]
    return cells


def _forward(compared: dict[str, Comparison]) -> str:
    names = (OWN, BEST, *PEERS)
    rows = []
    for comparison in (compared[row] for row in ROWS if row in compared):
        results = [comparison.results.get(name) for name in names]
        times = ["x" if result is None or result.fault else seconds(result.infer_s) for result in results]
        rows.append([comparison.title, *times])
    return markdown(["Model", *names], rows)


def _goal_row(comparison: Comparison) -> list[str]:
    peers = {
        name: ratio
        for name in comparison.results
        if name not in (OWN, BEST) and (ratio := comparison.ratio(name)) is not None
    }
    if not peers:
        return [comparison.title, *["x"] * (len(_GOAL_HEADER) - 1)]
    fastest = min(peers, key=lambda name: peers[name])
    best = comparison.ratio(BEST)
    memory = comparison.results[fastest].memory_gib
    return [
        comparison.title,
        fastest,
        f"{peers[fastest]:.2f}",
        "x" if best is None else f"{peers[fastest] / best:.2f}",
        f"{comparison.results[OWN].memory_gib / memory:.2f}",
        "x" if best is None else f"{comparison.results[BEST].memory_gib / memory:.2f}",
    ]


def _disturbed(compared: Sequence[Comparison]) -> str:
    """CPU times of rows that were measured while other programs ran."""
    busy = [comparison for comparison in compared if comparison.disturbed]
    if not busy:
        return ""
    names = [OWN, BEST, *(name for name in PEERS if any(name in comparison.results for comparison in busy))]
    rows = []
    for comparison in busy:
        ratios = [comparison.cpu_ratio(name) for name in names]
        cells = ["x" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        rows.append([comparison.title, f"{comparison.load:.1f}", *cells])
    return (
        "### CPU time\n\nOther programs ran on the machine when these rows were measured: times above are too long and "
        "ratios vary. The CPU time of all threads per step, relative to Kinema in fp32, varies much less:\n\n"
        + markdown(["Model", "busy cores before", *names], rows)
    )


def _reasons(compared: Sequence[Comparison]) -> list[str]:
    """Reasons for failed contenders, workarounds, and why other cells are empty."""
    lacking = [
        "x without a reason above: the toolbox has no such model (the Temporal-Shift-Module has TSN and TSM, "
        "PySlowFast I3D, Slowonly and Slowfast, BSN and BMN one model each), or the benchmark does not include it."
    ]
    return [*compared_notes(compared), *lacking]
