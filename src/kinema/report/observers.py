"""Training observers: TensorBoard events, a plot of training curves, and facts of the machine."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from kinema import strict_json
from kinema.config import read
from kinema.report.page.pictures import FOLDER
from kinema.report.page.runs import MACHINE
from kinema.report.plots import draw_curves
from kinema.report.wandb_logger import WeightsAndBiases
from kinema.runtime.device import RuntimeOptions, pick_device
from kinema.runtime.hardware import machine
from kinema.storage import replacing, write_text
from kinema.training.config import RecipeConfig
from kinema.training.observers import Observers, OpenObserver
from kinema.training.saving.record import read_rows
from kinema.training.task import Criterion
from kinema.version import __version__


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

    def on_pictures(self, pictures: Mapping[str, Tensor], *, step: int) -> None:
        """Write the pictures of a validation."""
        for name, picture in pictures.items():
            self._writer.add_image(f"val/{name}", picture, step, dataformats="HWC")

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
        self._criterion: Criterion | None = None

    def on_criterion(self, metric: str, *, lower: bool) -> None:
        """Mark the best model by this metric."""
        self._criterion = Criterion(metric, lower)

    def on_step(self, row: dict[str, float]) -> None:
        """Do nothing: curves are plotted after a validation."""

    def on_validation(self, row: dict[str, float]) -> None:  # noqa: ARG002
        """Plot the curves so far."""
        self.close()

    def close(self) -> None:
        """Plot the curves."""
        training, validation = (read_rows(self._work_dir / "metrics.jsonl", split) for split in ("train", "val"))
        if training or validation:
            draw_curves(training, validation, self._work_dir / "curves.png", criterion=self._criterion)


class Pictures:
    """Writes the pictures of each validation to `NAME.png`, and to `pictures/NAME_STEP.png`."""

    def __init__(self, work_dir: Path, *, first_step: int) -> None:  # noqa: ARG002
        self._work_dir = work_dir

    def on_step(self, row: dict[str, float]) -> None:
        """Do nothing."""

    def on_validation(self, row: dict[str, float]) -> None:
        """Do nothing."""

    def on_pictures(self, pictures: Mapping[str, Tensor], *, step: int) -> None:
        """Write the pictures."""
        for name, picture in pictures.items():
            for file in (self._work_dir / f"{name}.png", self._work_dir / FOLDER / f"{name}_{step:06}.png"):
                file.parent.mkdir(exist_ok=True)
                with replacing(file) as path:
                    Image.fromarray(picture.numpy()).save(path, "png")

    def close(self) -> None:
        """Do nothing."""


class Machine:
    """Writes `machine.json` when a run starts or resumes: device, number of processes, and versions."""

    def __init__(self, work_dir: Path, *, first_step: int) -> None:  # noqa: ARG002
        world = dist.get_world_size() if dist.is_initialized() else 1
        facts = {
            "machine": machine(_device_of(work_dir)),
            "devices": world,
            "system": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            "torch": torch.__version__,
            "kinema": __version__,
        }
        write_text(work_dir / MACHINE, strict_json.dumps(facts, indent=2) + "\n")

    def on_step(self, row: dict[str, float]) -> None:
        """Do nothing."""

    def on_validation(self, row: dict[str, float]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def _device_of(work_dir: Path) -> torch.device:
    """Return the device that the run's config names."""
    file = work_dir / "config.yaml"
    name: Any = read(file)[1].get("runtime.device", "auto") if file.exists() else "auto"
    return pick_device(RuntimeOptions(device=name))


_LOGGERS: dict[str, OpenObserver] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases}


def observers_of(config: RecipeConfig) -> Observers:
    """Return the observers of a training that `training.loggers` selects, and those of every training."""
    names = dict.fromkeys(name for stage in config.stages().values() for name in stage.training.loggers)
    return (*(_LOGGERS[name] for name in names), Curves, Pictures, Machine)
