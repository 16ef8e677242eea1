"""Logs of text: MMAction2 and MMAction, the Temporal-Shift-Module, messages of Kinema, BSN and JJBOY's BMN."""

import re
from collections.abc import Iterator, Sequence

from kinema.benchmark.logs.rows import Line, Row, averaged, sampled
from kinema.errors import UserError

_OPENMMLAB = re.compile(
    r"(?P<form>Epoch\(train\)|Epoch|Iter\(train\)|Iter)\s*"
    r"(?:\[\s*(?P<epoch>\d+)\])?\[\s*(?P<iteration>\d+)/(?P<of>\d+)\]"
    r".*?\btime: (?P<seconds>[\d.]+),?\s+data_time: (?P<data>[\d.]+)(?:,?\s+memory: (?P<memory>\d+))?"
)
_TEMPORAL_SHIFT = re.compile(
    r"Epoch: \[(?P<epoch>\d+)\]\[(?P<iteration>\d+)/(?P<of>\d+)\].*?"
    r"Time (?P<seconds>[\d.]+) \([\d.]+\)\s+Data (?P<data>[\d.]+) \([\d.]+\)"
)
_MESSAGE = re.compile(r"training (?P<step>\d+)/\d+: .*?(?P<seconds>[\d.]+) s/iter, of that (?P<data>[\d.]+) for data")
_STAMP = re.compile(r"^\s*(?P<stamp>\d+(?:\.\d+)?)\s+")
_EPOCHS = {
    "BMN": re.compile(r"BMN training loss\(epoch (\d+)\)"),
    "BSN": re.compile(r"Epoch-(\d+) (?:Train|Val)\s+Loss:"),
}


def mmengine(lines: Sequence[str]) -> list[Row]:
    """MMAction2 1.x: `Epoch(train) [1][20/940]  lr: …  time: 0.3215  data_time: 0.0143  memory: 8342 …`.

    Like MMAction2 0.x it gives means over the iterations since the previous line, and memory allocated by torch in MiB.
    """
    return averaged([_line(match) for match in _matches(_OPENMMLAB, lines) if "(train)" in match["form"]])


def mmcv(lines: Sequence[str]) -> list[Row]:
    r"""MMAction2 0.x and MMAction: `Epoch [1][20/940]\tlr: …, time: 0.322, data_time: 0.014, memory: 8342, …`."""
    return averaged([_line(match) for match in _matches(_OPENMMLAB, lines) if "(train)" not in match["form"]])


def temporal_shift(lines: Sequence[str]) -> list[Row]:
    r"""`Epoch: [0][20/940], lr: 0.02000\tTime 0.420 (0.433)\tData 0.010 (0.031)…`: one iteration, and the epoch so far.

    The time of the iteration is read: the mean over the epoch includes warm-up iterations.
    """
    return sampled([_line(match, first=0) for match in _matches(_TEMPORAL_SHIFT, lines)])


def messages(lines: Sequence[str]) -> list[Row]:
    """Progress messages of Kinema, printed every few seconds; each counts as one iteration."""
    return [
        Row(last=int(match["step"]), seconds=float(match["seconds"]), data_seconds=float(match["data"]))
        for match in _matches(_MESSAGE, lines)
    ]


def stamped(lines: Sequence[str], *, tool: str, iters_per_epoch: int) -> list[Row]:
    """BSN's TEM and PEM, and BMN: losses after each training and each validation, to which `| ts '%.s'` adds times.

    An epoch is timed from the end of the previous validation to the end of its training.

    Raises:
        UserError: lines have no times, `iters_per_epoch` is 0, or there are less than two epochs.
    """
    lines = [line for line in lines if _EPOCHS[tool].search(line)]
    if not lines:
        return []
    stamps = [float(match["stamp"]) for match in _matches(_STAMP, lines)]
    if not iters_per_epoch or len(stamps) < len(lines):
        raise UserError(
            f"{tool} prints losses once per epoch, without times: run it as `python -u … | ts '%.s' > log` (of "
            "moreutils), so that each line begins with its time in seconds, and pass --iters-per-epoch"
        )
    if len(stamps) < 3:
        raise UserError(f"the log of {tool} has {len(stamps)} lines of losses; at least two epochs are needed")
    return [
        Row(last=(epoch + 1) * iters_per_epoch, iters=iters_per_epoch, seconds=(end - start) / iters_per_epoch)
        for epoch, (start, end) in enumerate(zip(stamps[1::2], stamps[2::2], strict=False), start=1)
    ]


def _matches(pattern: re.Pattern[str], lines: Sequence[str]) -> Iterator[re.Match[str]]:
    return (match for match in map(pattern.search, lines) if match)


def _line(match: re.Match[str], *, first: int = 1) -> Line:
    """Content of a line of a tool that counts epochs and iterations from `first`."""
    found = match.groupdict()
    return Line(
        epoch=int(found["epoch"] or first) + 1 - first,
        iteration=int(found["iteration"]) + 1 - first,
        per_epoch=int(found["of"]) if found["epoch"] else None,
        seconds=float(found["seconds"]),
        data_seconds=float(found["data"]),
        memory_gib=int(found["memory"]) / 1024 if found.get("memory") else None,
    )
