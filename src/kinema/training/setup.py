"""What a run starts from: its videos, their classes, the model's first weights."""

import logging
from dataclasses import replace
from pathlib import Path

import torch

from kinema.config import dump, read
from kinema.data.annotations import check_labels
from kinema.data.dataset import open_train_index, open_val_index
from kinema.data.index import Index
from kinema.errors import UserError
from kinema.inference.model_files import check_same_weights, find_model, read_description, read_weights
from kinema.models import Recognizer, build, load_pretrained
from kinema.storage import settled, write_text
from kinema.training.config import Config
from kinema.training.distributed import Process

log = logging.getLogger(__name__)


def open_videos(config: Config) -> tuple[Index, Index | None, tuple[str, ...], Config]:
    """The training and validation videos, the classes' names, and the config with the model's classes set to theirs.

    Where the data name their classes, these are the model's. Where labels are bare numbers, the model has as many
    classes as its recipe says, and every label must be one of them.

    Raises:
        UserError: the annotations are faulty, or a label is out of range.
    """
    train = open_train_index(config.data)
    classes = train.class_names or tuple(map(str, range(config.model.num_classes)))
    if len(classes) != config.model.num_classes:
        log.info("%d classes, as the data name them (the recipe has %d)", len(classes), config.model.num_classes)
        recipe = config.recipe
        config = replace(config, model=replace(config.model, num_classes=len(classes)))
        config.recipe = recipe
    if len(classes) < 2:
        raise UserError(f"the training videos are all of one class, {classes[0]}: there is nothing to tell apart")
    check_labels(train, len(classes))
    if not config.data.val:
        log.warning("no --data.val: nothing is validated, and `best` is not written")
        return train, None, classes, config
    val = open_val_index(config.data, train.class_names)
    if train.class_names is None and val.class_names is not None:
        raise UserError(
            "the validation videos have class names, the training videos bare numbers: which is which? "
            "--data.classes names a file with the classes' names, one a line, in the order of the numbers"
        )
    check_labels(val, len(classes))
    return train, val, classes, config


def first_model(config: Config, classes: tuple[str, ...], process: Process) -> Recognizer:
    """The model with the weights that a new training starts from: another model's, or ImageNet's, or random ones.

    Raises:
        UserError: `training.init` is no model or of another architecture, or ImageNet's weights cannot be had.
    """
    model = empty_model(config)
    if config.training.init:
        _load_init(model, classes, Path(config.training.init))
    elif config.model.pretrained != "none":
        # Downloaded once; the others then find the file.
        process.first_does(lambda: load_pretrained(model, config.model))
        if not process.is_main:
            load_pretrained(model, config.model)
    return model


def empty_model(config: Config) -> Recognizer:
    """The model with random weights, the same ones for the same seed."""
    torch.manual_seed(config.training.seed)
    return build(config.model)


def _load_init(model: Recognizer, classes: tuple[str, ...], init: Path) -> None:
    """Take over `init`'s weights; its head only where it tells the same classes apart."""
    folder = find_model(init)
    weights = read_weights(folder)
    theirs = read_description(folder)
    wanted = model.state_dict()
    if theirs.classes != classes:
        head = {name: tensor for name, tensor in wanted.items() if name.startswith("fc.")}
        weights |= head
        log.info("new head: %s tells %d other classes apart than these %d", init, len(theirs.classes), len(classes))
    check_same_weights(wanted, weights, origin=str(init))
    model.load_state_dict(weights)


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


def write_config(config: Config, file: Path, *, resuming: bool) -> None:
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
