"""`docs/benchmark.md`: the benchmark's tables with what was measured here."""

from collections.abc import Sequence

from kinema.benchmark.compare.results import BEST, OWN, Comparison
from kinema.benchmark.compare.rows import PEERS, ROWS
from kinema.benchmark.pages.tables import compared_notes, markdown, seconds
from kinema.benchmark.suite import INPUTS, Input, Pieces

TRAINED = (
    "Model", "input", "io backend", "batch size x processes", "s/iter", "95 %", "waiting for data",
    "compute alone (s/iter)", "data alone (s/iter)", "videos/s", "memory (GiB)", "GFLOP/s", "of the matmul peak",
)  # fmt: skip
RECOGNIZERS = ("MMAction2", "MMAction", "Temporal-Shift-Module", "PySlowFast", "pytorchvideo", "torchvision")
LOCALIZERS = ("MMAction2", "BSN", "BMN")
_FORMS = {"rawframes": "256p rawframes", "video": "256p videos", "dense": "256p dense-encoded video", None: "features"}
_LOCALIZED = ("tem", "pem", "bmn")


def page(pieces: Pieces, *, command: str) -> str:
    """The page in Markdown; `command` reproduces its measurements."""
    compared = pieces.compared
    parts = [
        "# Benchmark",
        _introduction(pieces),
        "## Training with its data",
        "What `kinema train` takes, data loading included, as the benchmark defines it: the mean of s/iter after the "
        "first iterations. Peers' loaders are not run here; their training steps are below.",
        markdown(TRAINED, [_trained_row(one, pieces) for one in INPUTS]),
        "## Training steps beside other toolboxes",
        "Forward, loss, backward, clipping and optimizer over one batch that is there already, each in its own "
        "toolbox's code and process; all contenders of a row took turns in one run. In brackets: times Kinema's fp32, "
        "the median over the turns. Below 1.00 the toolbox is faster than Kinema. x: it has no such model, or does not "
        "run; why is said below.",
        "### Recognizers (s/iter, GiB)",
        _steps([row for row in ROWS if row not in _LOCALIZED], RECOGNIZERS, compared),
        "### Localizers (s/iter, GiB)",
        _steps(_LOCALIZED, LOCALIZERS, compared),
        "The benchmark sets I3D heavy (33.0 M parameters) beside PySlowFast's I3D (28.0 M). They are two models: the "
        "row *I3D 8x8* is PySlowFast's own in both toolboxes.",
        "### Forward passes alone (s)",
        _forward(compared),
        "## Against its own limits",
        "The fastest peer's step over Kinema's: above 1.00 Kinema is faster.",
        markdown(_GOAL_HEADER, [_goal_row(compared[row]) for row in ROWS if row in compared]),
        _disturbed(list(compared.values())),
        "## What does not run, and what was worked around",
        "".join(f"- {note}\n" for note in _reasons(list(compared.values()))),
        "## Reproducing the measurements",
        f"```shell\n{command}\n```",
        "Each call goes on where the last one was; files of a folder's pieces that are removed are measured again.",
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


_GOAL_HEADER = (
    "Model", "fastest peer", "fp32", "best precision", "memory fp32 / that peer's", "memory best / that peer's",
)  # fmt: skip


def _introduction(pieces: Pieces) -> str:
    trained, compared = list(pieces.trained.values()), list(pieces.compared.values())
    machines = dict.fromkeys([*(each.machine for each in trained), *(each.machine for each in compared)])
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
        f"- Machine: {'; '.join(machines)}. The benchmark's had 8 V100: batches are scaled to this one, as rows say.",
        f"- Versions: {', '.join(versions)}. fp32 unless said otherwise.",
    ]
    if trained:
        counts = dict.fromkeys(f"{each.iters} after {each.skipped}" for each in trained)
        made = dict.fromkeys(each.data for each in trained if each.data)
        lines.append(f"- Iterations that count: {', '.join(counts)} that do not. Read were {', '.join(made)}.")
    if any(each.disturbed for each in compared):
        lines.append(
            "- Other programs worked on the machine meanwhile: seconds are too long, most of all of trainings that "
            "read data. Contenders that took turns can be compared; see CPU time below."
        )
    if pieces.missing:
        lines.append(f"- Not measured yet (–): {', '.join(pieces.missing)}.")
    return "\n".join(lines)


def _trained_row(one: Input, pieces: Pieces) -> list[str]:
    title, found = ROWS[one.row].title, pieces.trained.get(one.name)
    what = [title, _FORMS[one.form], "Memcached" if one.storage == "memcached" else "Disk"]
    if found is None:
        return [*what, *["–"] * (len(TRAINED) - len(what))]
    per_second = found.flops_per_s
    return [
        *what,
        f"{found.batch_size}x{found.processes} (benchmark: {ROWS[one.row].spec_batch})",
        f"**{seconds(found.s_per_iter)}**",
        seconds(found.p95),
        f"{found.data_wait_share:.0%}",
        seconds(found.compute_s_per_iter),
        seconds(found.data_s_per_iter),
        f"{found.videos_per_s:.3g}",
        f"{found.memory_gib:.2f}",
        "–" if per_second is None else f"{per_second / 1e9:.0f}",
        "–" if per_second is None else f"{per_second / found.matmul_flops_per_s:.0%}",
    ]


def _steps(rows: Sequence[str], peers: Sequence[str], compared: dict[str, Comparison]) -> str:
    header = ["Model", "batch size", *(name for each in (OWN, BEST, *peers) for name in (f"{each} (s/iter)", "mem"))]
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
            beside = "" if name == OWN or ratio is None else f" ({ratio:.2f})"
            cells += [f"{seconds(result.s_per_iter)}{beside}", f"{result.memory_gib:.2f}"]
    return cells


def _forward(compared: dict[str, Comparison]) -> str:
    names = (OWN, BEST, *PEERS)
    rows = [
        [
            comparison.title,
            *(
                seconds(result.infer_s) if (result := comparison.results.get(name)) and not result.fault else "x"
                for name in names
            ),
        ]
        for row, comparison in ((row, compared[row]) for row in ROWS if row in compared)
    ]
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
    best, memory = (
        comparison.ratio(BEST) if BEST in comparison.results else None,
        comparison.results[fastest].memory_gib,
    )
    return [
        comparison.title,
        fastest,
        f"{peers[fastest]:.2f}",
        "x" if best is None else f"{peers[fastest] / best:.2f}",
        f"{comparison.results[OWN].memory_gib / memory:.2f}",
        "x" if best is None else f"{comparison.results[BEST].memory_gib / memory:.2f}",
    ]


def _disturbed(compared: Sequence[Comparison]) -> str:
    """Where others worked on the machine, CPU times are the better measure."""
    busy = [each for each in compared if each.disturbed]
    if not busy:
        return ""
    names = [OWN, BEST, *(name for name in PEERS if any(name in each.results for each in busy))]
    rows = [
        [
            each.title,
            f"{each.load:.1f}",
            *(
                "x" if name not in each.results or (ratio := each.cpu_ratio(name)) is None else f"{ratio:.2f}"
                for name in names
            ),
        ]
        for each in busy
    ]
    return (
        "### CPU time\n\nOther programs ran on the machine when these rows were measured: their times above are too "
        "long, and ratios vary. What all threads of a process worked in a step (times Kinema's fp32) depends on that "
        "much less:\n\n" + markdown(["Model", "cores busy before", *names], rows)
    )


def _reasons(compared: Sequence[Comparison]) -> list[str]:
    """Of those that were tried, and of the columns that have no such model at all."""
    lacking = [
        "x without a reason here: the toolbox has no such model (the Temporal-Shift-Module has TSN and TSM, PySlowFast "
        "I3D, Slowonly and Slowfast, BSN and BMN one model each), or the benchmark does not set it beside."
    ]
    return [*compared_notes(compared), *lacking]
