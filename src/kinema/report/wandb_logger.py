"""Weights & Biases as an observer of trainings."""

import os
import uuid
from pathlib import Path
from typing import Any

from kinema.config import read
from kinema.errors import MissingPackage, UserError
from kinema.storage import write_text


class WeightsAndBiases:
    """Logs the rows of `metrics.jsonl` to Weights & Biases, as `train/loss`, `val/top1` and so on.

    The run has the name of the work dir and the options of `config.yaml`; its id is kept in `wandb/id`, so that a
    resumed training continues it. `WANDB_MODE=offline` writes to `wandb/` alone, for `wandb sync`; `WANDB_PROJECT`
    (kinema), `WANDB_ENTITY` and W&B's other variables apply.
    """

    def __init__(self, work_dir: Path, *, first_step: int) -> None:  # noqa: ARG002 - a resumed run repeats some rows
        try:
            import wandb
        except ImportError as error:
            raise MissingPackage("--training.loggers wandb needs wandb: pip install 'kinema[wandb]'") from error
        recipe, options = read(work_dir / "config.yaml")
        try:
            self._run: Any = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "kinema"),
                name=os.environ.get("WANDB_NAME", work_dir.resolve().name),
                id=_run_id(work_dir / "wandb" / "id"),
                resume="allow",
                dir=str(work_dir),
                config={"recipe": recipe, **options},
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            raise UserError(
                f"--training.loggers wandb: {error}; run `wandb login`, or set WANDB_MODE=offline to log to "
                f"{work_dir / 'wandb'} alone"
            ) from error
        self._run.define_metric("*", step_metric="step")

    def on_step(self, row: dict[str, float]) -> None:
        """Log metrics of training steps."""
        self._log("train", row)

    def on_validation(self, row: dict[str, float]) -> None:
        """Log metrics of a validation."""
        self._log("val", row)

    def close(self) -> None:
        """Upload or write what is left."""
        self._run.finish()

    def _log(self, split: str, row: dict[str, float]) -> None:
        # The step is a metric: W&B's own may not go back, as it does when a run is resumed from a checkpoint.
        metrics = {name if name in ("step", "epoch") else f"{split}/{name}": value for name, value in row.items()}
        self._run.log(metrics)


def _run_id(file: Path) -> str:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, uuid.uuid4().hex[:12])
    return file.read_text(encoding="utf-8").strip()
