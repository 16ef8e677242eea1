"""What BSN and JJBOY's BMN print: losses, once an epoch, and no times. `| ts '%.s'` puts a time before each line."""

import re
from collections.abc import Sequence

from kinema.benchmark.logs.rows import Row
from kinema.errors import UserError

_STAMP = r"^\s*(?P<stamp>\d+(?:\.\d+)?)\s+"
_BMN = re.compile(r"BMN training loss\(epoch (\d+)\)")
_BSN = re.compile(r"Epoch-(\d+) (?:Train|Val)\s+Loss:")


def bmn_rows(lines: Sequence[str], *, iters_per_epoch: int) -> list[Row]:
    """An epoch prints the same words twice, after training and after validation: what lies between is left out."""
    return _rows([line for line in lines if _BMN.search(line)], "BMN", iters_per_epoch)


def bsn_rows(lines: Sequence[str], *, iters_per_epoch: int) -> list[Row]:
    """TEM and PEM print after training and validating an epoch, both together."""
    return _rows([line for line in lines if _BSN.search(line)], "BSN", iters_per_epoch)


def _rows(lines: Sequence[str], tool: str, iters: int) -> list[Row]:
    """An epoch takes from the end of the validation before it to the end of its own training."""
    if not lines:
        return []
    found = [re.match(_STAMP, line) for line in lines]
    if not iters or not all(found):
        raise UserError(
            f"{tool} prints losses once an epoch and no times: run it as `python -u … | ts '%.s' > log` (moreutils), "
            "so that each line begins with its time in seconds, and say --iters-per-epoch"
        )
    stamps = [float(match["stamp"]) for match in found if match]
    if len(stamps) < 3:
        raise UserError(f"{tool}'s log holds {len(stamps)} lines of losses: a second epoch is needed to time one")
    return [
        Row(last=(turn + 1) * iters, iters=iters, seconds=(end - start) / iters)
        for turn, (start, end) in enumerate(zip(stamps[1::2], stamps[2::2], strict=False), start=1)
    ]
