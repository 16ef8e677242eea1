"""The run's figures: `metrics.jsonl` for programs, TensorBoard events for people."""

import json
import math
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from kinema import strict_json
from kinema.storage import write_text


class Record:
    """Appends rows of figures. A resumed run first forgets what was written after the checkpoint it resumes from."""

    def __init__(self, work_dir: Path, *, from_step: int, validated: int) -> None:
        """Keep the rows of training up to `from_step`, those of validations up to step `validated`."""
        self.work_dir = work_dir
        self._path = work_dir / "metrics.jsonl"
        if self._path.exists():
            last = {"train": from_step, "val": validated}
            rows = [(line, json.loads(line)) for line in read_lines(self._path)]
            kept = [line for line, row in rows if row["step"] <= last["train" if "loss" in row else "val"]]
            write_text(self._path, "".join(line + "\n" for line in kept))
        self._tensorboard = SummaryWriter(str(work_dir / "tensorboard"), purge_step=from_step + 1)

    def write(self, part: str, row: dict[str, float]) -> None:
        """Append `row`, which holds `step`; `part` (train, val) only groups TensorBoard's curves."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(strict_json.dumps(row) + "\n")
        for name, value in row.items():
            if name not in ("step", "epoch"):
                self._tensorboard.add_scalar(f"{part}/{name}", value, int(row["step"]))

    def rows(self) -> list[dict[str, float]]:
        """All rows so far, those of the run that was resumed too; see `read_rows`."""
        return read_rows(self._path) if self._path.exists() else []

    def close(self) -> None:
        """Write out what is buffered."""
        self._tensorboard.close()


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a `metrics.jsonl`, oldest first; NaN for figures that are null there, which means undefined."""
    rows = [json.loads(line) for line in read_lines(path)]
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]


def read_lines(path: Path) -> list[str]:
    """The complete lines: the last one may have been cut off when its process was killed."""
    return path.read_text(encoding="utf-8").split("\n")[:-1]
