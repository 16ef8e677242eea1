"""`metrics.jsonl`: the figures of a run, a row for each stretch of training and each validation."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from kinema import strict_json
from kinema.storage import write_text

Split = Literal["train", "val"]


class Record:
    """Appends rows. A resumed run first drops those that were written after the checkpoint it resumes from."""

    def __init__(self, work_dir: Path, *, from_step: int, validated: int) -> None:
        """Keep the rows of training up to `from_step`, those of validations up to step `validated`."""
        self.work_dir = work_dir
        self._path = work_dir / "metrics.jsonl"
        if self._path.exists():
            last = {"train": from_step, "val": validated}
            rows = [(line, json.loads(line)) for line in read_lines(self._path)]
            kept = [line for line, row in rows if row["step"] <= last[split_of(row)]]
            write_text(self._path, "".join(line + "\n" for line in kept))

    def write(self, split: Split, row: dict[str, float]) -> None:
        """Append `row`, which holds `step`."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(strict_json.dumps({"split": split, **row}) + "\n")


def read_rows(path: Path, split: Split) -> list[dict[str, float]]:
    """Return the rows of a split, oldest first; NaN for figures that are null in the file, which means undefined."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in read_lines(path)]
    return [
        {name: math.nan if value is None else value for name, value in row.items() if name != "split"}
        for row in rows
        if split_of(row) == split
    ]


def split_of(row: Mapping[str, object]) -> Split:
    """Return the split of a row; those of earlier versions don't say it, and only training has a loss there."""
    return "val" if row.get("split", "train" if "loss" in row else "val") == "val" else "train"


def read_lines(path: Path) -> list[str]:
    """Return the complete lines: the last one may have been cut off when its process was killed."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]
