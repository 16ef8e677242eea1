"""A model on disk: `model.safetensors`, and `model.json` with all that is needed to use it."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b, file_digest
from pathlib import Path
from shlex import quote
from typing import Any, Generic, TypeVar, get_args

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kinema import strict_json
from kinema.addresses import address_of
from kinema.errors import UserError
from kinema.models import ModelOptions, name_of
from kinema.models.foreign import Source
from kinema.storage import readable_folder, write_text
from kinema.version import __version__
from kinema.weights.foreign_files import read_foreign_weights, tools_of

log = logging.getLogger(__name__)

T = TypeVar("T")
M = TypeVar("M")
D = TypeVar("D")

_WEIGHTS, _DESCRIPTION = "model.safetensors", "model.json"
_PIPELINE = "pipeline.json"
_FORMAT = 2
"""Version of `model.json`; 1 has no such field."""


@dataclass(kw_only=True)
class Description(Generic[T, M, D]):
    """Recipe, task, network, data and class names of a model."""

    recipe: str
    task: T
    model: M
    data: D
    classes: tuple[str, ...] = ()
    """Names of the classes in the order of the outputs; none where outputs are no classes."""


AnyDescription = Description[Any, Any, Any]


@dataclass(frozen=True, kw_only=True)
class ModelJson:
    """Contents of a `model.json`, whose task, network and data are still values by field name."""

    path: Path
    recipe: str
    task_name: str
    """As in `kinema.tasks.TASKS`, or the address of a class."""
    task: dict[str, Any]
    architecture: str
    """As in `kinema.models.MODELS`, or the address of a class."""
    model: dict[str, Any]
    data: dict[str, Any]
    classes: tuple[str, ...]
    folder: str
    """Where the training was started: relative paths of its data start there."""


def save_model(folder: Path, weights: Mapping[str, Tensor], description: AnyDescription) -> None:
    """Write a model into an existing folder.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    content = {"kinema": __version__, "format": _FORMAT, "folder": str(Path.cwd()), **_contents(description)}
    # surrogateescape: a class may be called after a folder whose name is not UTF-8.
    text = strict_json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / _DESCRIPTION).write_text(text, encoding="utf-8", errors="surrogateescape")
    try:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / _WEIGHTS)
    except SafetensorError as error:  # its way to say that writing failed
        raise OSError(str(error)) from error


def _contents(description: AnyDescription) -> dict[str, Any]:
    return {
        "recipe": description.recipe,
        "task_name": getattr(description.task, "name", None) or address_of(type(description.task)),
        "task": asdict(description.task),
        "architecture": name_of(description.model),
        "model": asdict(description.model),
        "data": asdict(description.data),
        "classes": description.classes,
    }


def read_model_json(folder: Path) -> ModelJson:
    """Read `model.json`, also those of earlier versions.

    Raises:
        UserError: it is damaged, or of a later version.
    """
    path = folder / _DESCRIPTION
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        version = content.get("format", 1)
        if version > _FORMAT:
            raise UserError(f"{path} was written by Kinema {content['kinema']}, a later version: install that one")
        if version == 1:
            content = _from_format_1(content)
        return ModelJson(
            path=path,
            folder=str(content.get("folder", "")),
            classes=tuple(content.get("classes", ())),
            **{name: content[name] for name in ("recipe", "task_name", "task", "architecture", "model", "data")},
        )
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged: {error!r}") from error


def _from_format_1(content: dict[str, Any]) -> dict[str, Any]:
    """Contents as format 2 has them: views among the data, and the task by name."""
    architecture = content["architecture"]
    if architecture in ("bmn", "tem", "pem"):
        return {**content, "task_name": architecture}
    views = {name: content[name] for name in ("val_views", "test_views")}
    crop = {"box": {"scales": [1.0]}, "size": views["val_views"]["crops"]["size"]}  # of training, which is not known
    clip = {"sampling": views["val_views"]["sampling"], "crop": crop}
    return {**content, "task_name": "recognition", "data": {**content["data"], **views, "train_clip": clip}}


def load_weights(module: nn.Module, folder: Path) -> None:
    """Load the weights in `folder` into a model, and put it in eval mode.

    Raises:
        UserError: the file is damaged, or of another architecture.
    """
    log.info("model: %s", folder)
    weights = read_weights(folder)
    check_same_weights(module.state_dict(), weights, origin=str(folder / _WEIGHTS))
    module.load_state_dict(weights)
    module.eval()


def find_model(model: Path) -> Path:
    """The folder that holds the model files: of a run, its best checkpoint, else its last.

    Raises:
        UserError: nothing there is a model.
    """
    if model.suffix == ".safetensors":
        model = model.parent
    model = _last_stage(model)
    # Only looked at here: a run that is under way puts its folders in order itself.
    checkpoints = (readable_folder(model / "checkpoints" / name) for name in ("best", "last"))
    for folder in (readable_folder(model), *checkpoints):
        if (folder / _DESCRIPTION).is_file() and (folder / _WEIGHTS).is_file():
            return folder
    if model.is_file():
        folder = model.with_name(model.name.lstrip(".").partition(".")[0] or "model")
        raise UserError(
            f"{model} is no model of Kinema's. If it is a checkpoint of another tool, make a model of it first, and "
            f"pass that folder here: kinema convert {quote(str(model))} --from {_tool(model)} "
            f"--output {quote(str(folder))}"
        )
    found = "does not exist" if not model.exists() else "holds no model.json with a model.safetensors beside it"
    raise UserError(
        f"{model} {found}; a MODEL is a run's --work-dir, a folder of its checkpoints, or a model.safetensors"
    )


def write_pipeline(folder: Path, *, model: str) -> None:
    """Record in the folder of a pipeline's run which stage's subfolder holds its model.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    write_text(folder / _PIPELINE, strict_json.dumps({"model": model}) + "\n")


def _last_stage(run: Path) -> Path:
    """Return the run of the stage that is a pipeline's model; any other path as it is."""
    try:
        stage = str(json.loads((run / _PIPELINE).read_text(encoding="utf-8"))["model"])
    except OSError:
        stage = "pem"  # BSN by Kinema 0.1, or by one command for each stage
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{run / _PIPELINE} is damaged: {error!r}") from error
    return run / stage if (run / stage).is_dir() else run


def _tool(checkpoint: Path) -> str:
    """The tool that a checkpoint's weights are named by, or all that it may be of."""
    try:
        tools = tools_of(read_foreign_weights(checkpoint))
    except UserError:
        tools = {}
    sources: tuple[str, ...] = get_args(Source)
    return next((tool for tool in tools if tool in sources), "|".join(sources))


def check_same_model(folder: Path, description: AnyDescription) -> None:
    """Check that the model in `folder` has the network and the classes of `description`, as a resumed run must.

    Raises:
        UserError: it has not; says which options or classes differ.
    """
    before, content = read_model_json(folder), json.loads(strict_json.dumps(_contents(description)))
    then = {"architecture": before.architecture, **before.model}
    now = {"architecture": content["architecture"], **content["model"]}
    # An option that the version of `folder` did not have has its default.
    changes = [f"{key} {value} → {now.get(key)}" for key, value in then.items() if value != now.get(key)]
    changes += _changed_classes(before.classes, description.classes)
    if changes:
        raise UserError(
            f"{folder} has other classes or another network than this run: {'; '.join(changes)}. "
            "Resume with the original classes and model options, or start a new run in another --work-dir with "
            f"--init {folder}"
        )


def _changed_classes(before: tuple[str, ...], now: tuple[str, ...]) -> list[str]:
    if before == now:
        return []
    if len(before) != len(now):
        return [f"{len(before)} classes → {len(now)}"]
    label = next(k for k in range(len(now)) if before[k] != now[k])
    return [f"class {label} '{before[label]}' → '{now[label]}'"]


def digest(folder: Path) -> str:
    """16 hexadecimal digits that change with the weights in `folder`."""
    with (folder / _WEIGHTS).open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=8)).hexdigest()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read `model.safetensors`.

    Raises:
        UserError: the file is damaged, or holds NaN or infinity.
    """
    path = folder / _WEIGHTS
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    check_finite(weights, origin=str(path))
    return weights


def check_finite(weights: Mapping[str, Tensor], *, origin: str) -> None:
    """See that no weight is NaN or infinite.

    Raises:
        UserError: some are; names the first few.
    """
    names = [name for name, value in weights.items() if not value.isfinite().all()]
    if names:
        raise UserError(
            f"{origin} holds NaN or infinity in {len(names)} of {len(weights)} weights ({_first(names)}): "
            "its training has diverged; take a checkpoint from before that"
        )


def check_same_weights(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], *, origin: str) -> None:
    """See that `found` has the names and shapes of `wanted`.

    Raises:
        UserError: it has not; says how many weights differ, and the first few of each kind.
    """
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    shapes = [
        f"{name} {tuple(found[name].shape)}, here {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    kinds = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    if faults := [f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds.items() if names]:
        raise UserError(f"{origin} is of another architecture: of {len(wanted)} weights, {'; '.join(faults)}")


def _first(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


_OF_TRAINING = (
    "num_classes", "dropout", "init_std", "zero_init_residual", "frozen_stages", "norm_eval",
    "gradient_checkpointing", "pretrained", "formulation",
)  # fmt: skip
"""RecognizerOptions of models that change nothing of what given weights compute."""


def warn_of_other_options(init: str, theirs: ModelOptions, ours: ModelOptions) -> None:
    """Warn where weights fit a network that computes something else with them: name the options that would not."""
    if type(theirs) is not type(ours):
        return
    names = [option.name for option in fields(ours) if option.name not in _OF_TRAINING]
    others = {name: getattr(theirs, name) for name in names if getattr(theirs, name) != getattr(ours, name)}
    if others:
        log.warning(
            "the weights of %s were trained with other options of the model, without which they compute something "
            "else; to start from the same network: %s",
            init,
            " ".join(f"--model.{name.replace('_', '-')} {_typed(value)}" for name, value in others.items()),
        )


def _typed(value: object) -> str:
    """A value as the command line takes it."""
    if isinstance(value, tuple):
        return " ".join(map(_typed, value))
    return f"{value:.9g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
