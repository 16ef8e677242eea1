"""Entry point of training."""

from collections.abc import Collection
from pathlib import Path

from kinema.training.config import RecipeConfig, TrainConfig
from kinema.training.initial import with_init
from kinema.training.loop import train_network
from kinema.training.observers import Observers
from kinema.training.saving.work_dir import resumable_config


def train(
    config: RecipeConfig,
    *,
    work_dir: str | Path = "",
    resume: bool = False,
    init: str | Path = "",
    given: Collection[str] = (),
    observers: Observers = (),
) -> dict[str, float]:
    """Train a model, in a single process or in each of those that torchrun started.

    Args:
        config: options of the run, as a recipe returns them.
        work_dir: receives `config.yaml`, `metrics.jsonl`, `checkpoints/{last,best}` and `bad_files.csv`; for
            a pipeline, a folder per stage. `runs/RECIPE` when empty.
        resume: continue the run in `work_dir` exactly from its last checkpoint, or start it if there is none. `config`
            may differ from the run's own in `kinema.training.saving.work_dir.CHANGEABLE` only.
        init: sets `training.init`, a trained model to initialize the weights from, which also decides the network's
            options; see `kinema.training.initial.with_init`.
        given: dotted keys of options that the user has set, which must not contradict `init`.
        observers: receive the rows of `metrics.jsonl` as they are written.

    Returns:
        The metrics (fractions) of the run's last validation; empty without validation videos.

    Raises:
        UserError: the data, `init` or `work_dir` are unusable, a checkpoint cannot be written, or the loss diverged.
        InterruptedRun: the process received SIGTERM, SIGUSR1 or Ctrl-C; a checkpoint is saved.
    """
    work_dir = Path(work_dir or default_work_dir(config.recipe))
    init = init or (config.training.init if isinstance(config, TrainConfig) else "")
    if init:
        config = with_init(config, init, given=given, run=resumable_config(work_dir) if resume else None)
    if isinstance(config, TrainConfig):
        return train_network(config, work_dir=work_dir, resume=resume, observers=observers)
    return config.train(work_dir, resume=resume, observers=observers)


def default_work_dir(recipe: str) -> Path:
    """Return the default work dir of a run: `runs/RECIPE`."""
    return Path("runs") / Path(recipe or "unnamed").name.replace(":", "_")
