"""Training observers: TensorBoard events and a plot of training curves."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from kinema.report.plots import draw_curves
from kinema.training.observers import Observers
from kinema.training.saving.record import read_rows


class TensorBoard:
    """Writes training and validation metrics as TensorBoard events to `tensorboard/`."""

    def __init__(self, work_dir: Path, *, first_step: int) -> None:
        self._writer = SummaryWriter(str(work_dir / "tensorboard"), purge_step=first_step + 1)

    def on_step(self, row: dict[str, float]) -> None:
        """Write metrics of training steps."""
        self._write("train", row)

    def on_validation(self, row: dict[str, float]) -> None:
        """Write metrics of a validation."""
        self._write("val", row)

    def close(self) -> None:
        """Flush buffered events."""
        self._writer.close()

    def _write(self, split: str, row: dict[str, float]) -> None:
        for name, value in row.items():
            if name not in ("step", "epoch"):
                self._writer.add_scalar(f"{split}/{name}", value, int(row["step"]))


class Curves:
    """Plots `curves.png` after each validation and at the end, including the steps before a resumption."""

    def __init__(self, work_dir: Path, *, first_step: int) -> None:  # noqa: ARG002
        self._work_dir = work_dir

    def on_step(self, row: dict[str, float]) -> None:
        """Do nothing: curves are plotted after a validation."""

    def on_validation(self, row: dict[str, float]) -> None:  # noqa: ARG002
        """Plot the curves so far."""
        self.close()

    def close(self) -> None:
        """Plot the curves."""
        training, validation = (read_rows(self._work_dir / "metrics.jsonl", split) for split in ("train", "val"))
        if training or validation:
            draw_curves(training, validation, self._work_dir / "curves.png")


OBSERVERS: Observers = (TensorBoard, Curves)
"""Observers of trainings started from the command line."""
