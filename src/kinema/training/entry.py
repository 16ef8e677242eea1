"""Train what a recipe describes."""

from dataclasses import replace
from pathlib import Path

from kinema.errors import UserError
from kinema.training.config import RecipeConfig, TrainConfig
from kinema.training.loop import train_network
from kinema.training.observers import Observers


def train(
    config: RecipeConfig,
    *,
    work_dir: str | Path = "",
    resume: bool = False,
    init: str | Path = "",
    observers: Observers = (),
) -> dict[str, float]:
    """Train a model, alone or as one of the processes that torchrun started.

    Args:
        config: all of the run's options.
        work_dir: receives `config.yaml`, `metrics.jsonl`, `checkpoints/{last,best}` and `bad_files.csv`; of a pipeline
            a folder for each stage. `runs/RECIPE` when empty.
        resume: continue the run in `work_dir` exactly from its last checkpoint; start it when there is none. `config`
            may differ from the run's own in `kinema.training.saving.work_dir.CHANGEABLE` only.
        init: sets the config's `training.init`, a trained model whose weights to start from.
        observers: receive the rows of `metrics.jsonl` as they are written.

    Returns:
        The metrics (fractions) of the run's last validation; empty without validation videos.

    Raises:
        UserError: the data, `init` or `work_dir` cannot be used, a checkpoint cannot be written, or the loss diverged.
        InterruptedRun: SIGTERM, SIGUSR1 or Ctrl-C came; the run is saved.
    """
    work_dir = Path(work_dir or default_work_dir(config.recipe))
    if init:
        config = with_init(config, init)
    if isinstance(config, TrainConfig):
        return train_network(config, work_dir=work_dir, resume=resume, observers=observers)
    return config.train(work_dir, resume=resume, observers=observers)


def with_init(config: RecipeConfig, init: str | Path) -> RecipeConfig:
    """Return a copy of the config that starts from the trained model `init`.

    Raises:
        UserError: it is of several networks.
    """
    if not isinstance(config, TrainConfig):
        raise UserError("--init is for recipes that train one network")
    return replace(config, training=replace(config.training, init=str(init)))


def default_work_dir(recipe: str) -> Path:
    """Return the work dir of a run for which none is given: `runs/RECIPE`."""
    return Path("runs") / Path(recipe or "unnamed").name.replace(":", "_")
