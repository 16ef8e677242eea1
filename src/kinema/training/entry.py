"""The verb: whatever a recipe describes is trained."""

from copy import deepcopy
from pathlib import Path

from kinema.errors import UserError
from kinema.tasks.localization.bsn import generate_candidates, train_bsn
from kinema.training.config import BSNConfig, PGMConfig, RecipeConfig
from kinema.training.loop import train_network


def train(
    config: RecipeConfig, *, work_dir: str | Path = "", resume: bool = False, init: str | Path = ""
) -> dict[str, float]:
    """Train a model, alone or as one of the processes that torchrun started.

    Args:
        config: all of the run's options.
        work_dir: receives `config.yaml`, `metrics.jsonl`, `checkpoints/{last,best}`, `bad_files.csv`, `curves.png` and
            `tensorboard/`; of BSN's three stages a folder for each. `runs/RECIPE` when empty.
        resume: continue the run in `work_dir` exactly from its last checkpoint; start it when there is none. `config`
            may differ from the run's own in `kinema.training.setup.CHANGEABLE` only.
        init: sets the config's `training.init`, a trained model whose weights to start from.

    Returns:
        The metrics (fractions) of the run's last validation; empty without validation videos.

    Raises:
        UserError: the data, `init` or `work_dir` cannot be used, a checkpoint cannot be written, or the loss diverged.
        InterruptedRun: SIGTERM, SIGUSR1 or Ctrl-C came; the run is saved.
    """
    work_dir = Path(work_dir or default_work_dir(config.recipe))
    if init:
        config = with_init(config, init)
    match config:
        case PGMConfig():
            return generate_candidates(config, work_dir=work_dir, resume=resume)
        case BSNConfig():
            return train_bsn(config, work_dir=work_dir, resume=resume)
        case _:
            return train_network(config, work_dir=work_dir, resume=resume)


def with_init(config: RecipeConfig, init: str | Path) -> RecipeConfig:
    """A copy of the config that starts from the trained model `init`.

    Raises:
        UserError: it is of several networks.
    """
    if isinstance(config, PGMConfig | BSNConfig):
        raise UserError("a model to start from (--init) is for recipes that train one network")
    config = deepcopy(config)
    config.training.init = str(init)
    return config


def default_work_dir(recipe: str) -> Path:
    """Return the work dir of a run for which none is given: `runs/RECIPE`."""
    return Path("runs") / Path(recipe or "unnamed").name.replace(":", "_")
