"""A run's folder: what it must not hold, and the config that it keeps."""

import logging
from pathlib import Path

from kinema.config import dump, read
from kinema.errors import UserError
from kinema.storage import settled, write_text
from kinema.training.config import AnyConfig

log = logging.getLogger(__name__)


def prepare_work_dir(work_dir: Path, *, resume: bool) -> None:
    """See that a new run does not write over an old one, and finish what a crash left half done.

    Raises:
        UserError: `work_dir` holds a run that is not resumed.
    """
    if (work_dir / "metrics.jsonl").exists() and not resume:
        raise UserError(f"{work_dir} holds a run already: add --resume to continue it, or choose another --work-dir")
    for name in ("last", "best"):
        settled(work_dir / "checkpoints" / name)
    if not (work_dir / "checkpoints" / "last").exists():
        (work_dir / "bad_files.csv").unlink(missing_ok=True)  # of a run that ended before it began


def write_config(config: AnyConfig, file: Path, *, resuming: bool) -> None:
    """Keep the config in the run's folder; say what a resumed run does otherwise than it began.

    Raises:
        UserError: the folder's config is damaged.
    """
    before = read(file)[1] if resuming and file.exists() else None
    write_text(file, dump(config, recipe=config.recipe))
    if before is not None:
        now = read(file)[1]
        changes = [f"{key} {before.get(key)} → {now.get(key)}" for key in now if before.get(key) != now.get(key)]
        if changes:
            log.warning("resumed with other options than the run had: %s", ", ".join(changes))
