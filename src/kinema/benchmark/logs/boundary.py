"""Logs of BSN and JJBOY's BMN: losses once per epoch without times, which `| ts '%.s'` adds to each line."""

import re
from collections.abc import Sequence

from kinema.benchmark.logs.rows import Row
from kinema.errors import UserError

_STAMP = r"^\s*(?P<stamp>\d+(?:\.\d+)?)\s+"
_BMN = re.compile(r"BMN training loss\(epoch (\d+)\)")
_BSN = re.compile(r"Epoch-(\d+) (?:Train|Val)\s+Loss:")


def bmn_rows(lines: Sequence[str], *, iters_per_epoch: int) -> list[Row]:
    """Rows of BMN, which prints the same line after training and after validation of an epoch."""
    return _rows([line for line in lines if _BMN.search(line)], "BMN", iters_per_epoch)


def bsn_rows(lines: Sequence[str], *, iters_per_epoch: int) -> list[Row]:
    """Rows of BSN's TEM and PEM, which print a line after training and a line after validation of an epoch."""
    return _rows([line for line in lines if _BSN.search(line)], "BSN", iters_per_epoch)


def _rows(lines: Sequence[str], tool: str, iters: int) -> list[Row]:
    """Time each epoch from the end of the previous validation to the end of its training."""
    if not lines:
        return []
    matches = [re.match(_STAMP, line) for line in lines]
    if not iters or not all(matches):
        raise UserError(
            f"{tool} prints losses once per epoch, without times: run it as `python -u … | ts '%.s' > log` (of "
            "moreutils), so that each line begins with its time in seconds, and pass --iters-per-epoch"
        )
    stamps = [float(match["stamp"]) for match in matches if match]
    if len(stamps) < 3:
        raise UserError(f"the log of {tool} has {len(stamps)} lines of losses; at least two epochs are needed")
    return [
        Row(last=(epoch + 1) * iters, iters=iters, seconds=(end - start) / iters)
        for epoch, (start, end) in enumerate(zip(stamps[1::2], stamps[2::2], strict=False), start=1)
    ]
