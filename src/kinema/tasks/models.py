"""Loading of trained models of any task: description, network, predictor."""

import logging
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from kinema.addresses import load_address
from kinema.config import options_from
from kinema.errors import UserError
from kinema.models import options_class
from kinema.runtime.device import RuntimeOptions
from kinema.tasks import TASKS
from kinema.training.task import Predictor, TaskOptions
from kinema.weights.find import find_model
from kinema.weights.model_files import AnyDescription, Description, ModelJson, load_network, read_model_json
from kinema.weights.own_paths import resolved

log = logging.getLogger(__name__)


class Types(NamedTuple):
    """Classes of a model's options, which replace those that `model.json` names."""

    task: Any
    model: Any
    data: Any


def read_description(
    folder: Path, types: Types | None = None, *, task: type = object, expected: str = ""
) -> AnyDescription:
    """Read `model.json`; relative paths of the data are resolved, see `resolved`.

    Args:
        folder: the folder of the model's files, see `find_model`.
        types: classes of the options; None: those named in `model.json`.
        task: class of the task's options that is expected.
        expected: what a model of that task is called, and which to pass.

    Raises:
        UserError: it is damaged or of a later version, its task or network cannot be imported, or it is of another
            task.
    """
    content = read_model_json(folder)
    task_type, model_type, data_type = types or _types(content)
    origin = str(content.path)
    if not issubclass(task_type, task):
        raise UserError(f"{folder} is a model of the recipe {content.recipe}, which is no {expected}")
    data = options_from(data_type, content.data, origin=origin)
    return Description(
        recipe=content.recipe,
        task=options_from(task_type, content.task, origin=origin),
        model=options_from(model_type, content.model, origin=origin),
        data=resolved(data, content.folder),
        classes=content.classes,
    )


def load_model(
    folder: Path, types: Types | None = None, *, task: type = object, expected: str = ""
) -> tuple[nn.Module, AnyDescription]:
    """Build a model and load its weights, in eval mode.

    Raises:
        UserError: see `read_description`; or the weights are damaged.
    """
    description = read_description(folder, types, task=task, expected=expected)
    return load_network(folder, description), description


def load(model: str | Path, *, device: str = "auto", types: Types | None = None) -> Predictor:
    """Load the predictor of a trained model, see `kinema.load`; `types` are those of `read_description`."""
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device '{device}'; pass auto, cpu or cuda")
    folder = find_model(model)
    description = read_description(folder, types)
    runtime = RuntimeOptions(device=device)  # type: ignore[arg-type]
    task: TaskOptions = description.task
    return task.load(folder, description, runtime)


def _types(content: ModelJson) -> Types:
    if content.task_name not in TASKS and ":" not in content.task_name:
        raise UserError(f"{content.path}: unknown task '{content.task_name}'; known: {', '.join(TASKS)}")
    for address in (content.task_name, content.architecture):
        _check_own_code(address, content)
    try:
        task = load_address(TASKS.get(content.task_name, content.task_name), what="task")
        return Types(task, options_class(content.architecture), task.data_type)
    except UserError as error:
        raise UserError(
            f"{content.path}: {error}. Pass the current path of its recipe {content.recipe} with --recipe"
        ) from error


def _check_own_code(address: str, content: ModelJson) -> None:
    """Check that a file of code that a model names did not come with the model.

    Raises:
        UserError: it lies beside the model, or its path is relative: a download might bring code to execute.
    """
    file = Path(address.rpartition(":")[0])
    if file.suffix != ".py":
        return
    if not file.is_absolute() or file.resolve().is_relative_to(content.path.parent.resolve()):
        raise UserError(
            f"{content.path} names code in {file}, which is executed only if asked for: pass its recipe with --recipe"
        )
    log.info("executing %s, which %s names", file, content.path)
