"""A run's work dir: its checks before training, and its config."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kinema.config import apply, as_argument, changed, current_keys, dump, leaves, read
from kinema.errors import UserError
from kinema.storage import recover_folder, write_text
from kinema.training.tuning import CANDIDATES

log = logging.getLogger(__name__)

CHANGEABLE = (
    "schedule.epochs",
    "data.workers",
    "runtime.device",
    "training.log_every",
    "training.checkpoint_every",
    "training.loggers",
    "training.patience",
)
"""Options that may change when a run is resumed."""
STORAGE = "data.storage."
"""Prefix of further ones: where files are cached does not change what is read."""


def prepare_work_dir(work_dir: Path, config: Any, *, resume: bool) -> None:
    """Check that `config` can start or resume the run in `work_dir`, and recover from crashed saves.

    Raises:
        UserError: `work_dir` holds a run and `resume` is false, or `config` cannot resume it.
    """
    if (work_dir / "metrics.jsonl").exists() and not resume:
        raise UserError(f"{work_dir} holds a run already: add --resume to continue it, or choose another --work-dir")
    for name in ("last", "best"):
        recover_folder(work_dir / "checkpoints" / name)
    if file := resumable_config(work_dir):
        check_resumed(config, file)
    else:
        (work_dir / "bad_files.csv").unlink(missing_ok=True)  # of a run that failed before its first checkpoint


def create_work_dir(work_dir: Path) -> None:
    """Create a run's folder.

    Raises:
        UserError: it cannot be created.
    """
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--work-dir {work_dir} cannot be created: {error.strerror or error}") from error


def resumable_config(work_dir: Path) -> Path | None:
    """Return the `config.yaml` of the run in `work_dir`, or None if there is no checkpoint to resume from."""
    file = work_dir / "config.yaml"
    saved = any(any(work_dir.glob(f"{stage}checkpoints/last")) for stage in ("", "*/"))  # of a pipeline's stages
    return file if saved and file.exists() else None


def check_resumed(config: Any, file: Path) -> None:
    """Compare a config with a run's own, and log the options that changed.

    `auto` counts as unchanged: the run keeps the value that it chose.

    Raises:
        UserError: `file` is damaged or of another recipe, or an option changed that may not.
    """
    changes = _changes(config, read_resumed(file, recipe=config.recipe)[1])
    refused = {key: change for key, change in changes.items() if not _is_changeable(key)}
    if refused:
        lines = [
            f"  {_option(key)} {as_argument(now)} (the run has {as_argument(was)})"
            for key, (was, now) in refused.items()
        ]
        allowed = ", ".join(map(_option, (*CHANGEABLE, STORAGE + "*")))
        raise UserError(
            "\n".join(
                [
                    f"{file.parent} cannot be resumed with other options than it was started with:",
                    *lines,
                    f"Leave them out, or choose another --work-dir. A resumed run may change {allowed}.",
                ]
            )
        )
    for key, (was, now) in changes.items():
        log.warning("resumed with %s %s (it was %s)", _option(key), as_argument(now), as_argument(was))


def read_resumed(file: Path, *, recipe: str) -> tuple[str, dict[str, object]]:
    """Return the recipe and the dotted keys of a run's config.

    Args:
        file: the run's `config.yaml`.
        recipe: the expected recipe; empty accepts any.

    Raises:
        UserError: `file` is damaged or of another recipe.
    """
    began, values = read(file)
    if recipe and not _same_recipe(began, recipe):
        raise UserError(
            f"{file.parent} holds a run of the recipe {began}, not {recipe}: "
            "leave the recipe out, or choose another --work-dir"
        )
    return began, values


def write_config(config: Any, file: Path) -> None:
    """Write `config.yaml`."""
    write_text(file, dump(config, recipe=config.recipe))


def _changes(config: Any, values: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """Return options that differ from the saved `values`, as (saved, given)."""
    known = leaves(config)
    began = apply(config, {key: value for key, value in current_keys(config, values).items() if key in known})
    return {
        key: change
        for key, change in changed(config, began).items()
        if not (key.rpartition(".")[2] in CANDIDATES and change[1] == "auto")
    }


def _is_changeable(key: str) -> bool:
    """Return whether `key`, possibly of a pipeline's stage, may change when a run is resumed."""
    return STORAGE in key or any(key == name or key.endswith(f".{name}") for name in CHANGEABLE)


def _same_recipe(one: str, other: str) -> bool:
    """Return whether two recipes are the same; addresses may be relative to different folders."""
    return one == other or (":" in one and ":" in other and Path(one).name == Path(other).name)


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")
