"""`metrics.jsonl`: a row per `training.log_every` steps and per validation."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from kinema import strict_json
from kinema.storage import write_text

Split = Literal["train", "val"]


class Record:
    """Writer of `metrics.jsonl`, which drops rows later than the checkpoint that a run resumes from."""

    def __init__(self, work_dir: Path, *, from_step: int, validated: int) -> None:
        """Keep training rows up to step `from_step` and validation rows up to step `validated`."""
        self.work_dir = work_dir
        self._path = work_dir / "metrics.jsonl"
        if self._path.exists():
            last = {"train": from_step, "val": validated}
            rows = [(line, json.loads(line)) for line in read_lines(self._path)]
            kept = [line for line, row in rows if row["step"] <= last[split_of(row)]]
            write_text(self._path, "".join(line + "\n" for line in kept))

    def write(self, split: Split, row: dict[str, float]) -> None:
        """Append `row`, which includes `step`."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(strict_json.dumps({"split": split, **row}) + "\n")


def read_rows(path: Path, split: Split) -> list[dict[str, float]]:
    """Return the rows of a split, oldest first, with NaN for null (undefined) values."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in read_lines(path)]
    return [
        {name: math.nan if value is None else value for name, value in row.items() if name != "split"}
        for row in rows
        if split_of(row) == split
    ]


def split_of(row: Mapping[str, object]) -> Split:
    """Return the split of a row; rows of version 0.1 lack it, and only training rows have a loss there."""
    return "val" if row.get("split", "train" if "loss" in row else "val") == "val" else "train"


def read_lines(path: Path) -> list[str]:
    """Return the complete lines; the last one may be cut off if the process was killed."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]
