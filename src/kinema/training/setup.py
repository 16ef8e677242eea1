"""What a run starts from: its videos, their classes, the model's first weights."""

import logging
from dataclasses import replace
from pathlib import Path

import torch

from kinema.data.annotations import check_labels
from kinema.data.dataset import open_train_index, open_val_index
from kinema.data.index import Index
from kinema.errors import UserError
from kinema.inference.model_files import check_same_weights, find_model, read_description, read_weights
from kinema.models import Recognizer, build, load_pretrained
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
        config = replace(config, model=replace(config.model, num_classes=len(classes)))
    check_labels(train, len(classes))
    if not config.data.val:
        log.warning("no --data.val: nothing is validated, and `best` is not written")
        return train, None, classes, config
    val = open_val_index(config.data, train.class_names)
    check_labels(val, len(classes))
    return train, val, classes, config


def first_model(config: Config, classes: tuple[str, ...], *, init: Path | None, process: Process) -> Recognizer:
    """The model with the weights that training starts from: `init`'s, or ImageNet's, or random ones.

    Raises:
        UserError: `init` is no model or of another architecture, or ImageNet's weights cannot be had.
    """
    torch.manual_seed(config.training.seed)
    model = build(config.model)
    if init is not None:
        _load_init(model, classes, init)
    elif config.model.pretrained != "none":
        if process.is_main:  # downloads once; the others then find the file
            load_pretrained(model, config.model)
        process.wait_for_all()
        if not process.is_main:
            load_pretrained(model, config.model)
    return model


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


def check_work_dir(work_dir: Path, *, resume: bool) -> None:
    """See that a new run does not write over an old one.

    Raises:
        UserError: `work_dir` holds a run that is not resumed.
    """
    if (work_dir / "metrics.jsonl").exists() and not resume:
        raise UserError(f"{work_dir} holds a run already: add --resume to continue it, or choose another --work-dir")
