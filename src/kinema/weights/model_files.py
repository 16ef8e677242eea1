"""Model folders: weights in `model.safetensors`, their description in `model.json`."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any, Generic, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kinema import strict_json
from kinema.addresses import address_of
from kinema.config import as_argument
from kinema.errors import UserError
from kinema.models import ModelOptions, name_of
from kinema.storage import write_text
from kinema.version import __version__
from kinema.weights.exported import ExportedNetwork, read_metadata
from kinema.weights.names import DESCRIPTION, PIPELINE, WEIGHTS, is_exported

log = logging.getLogger(__name__)

T = TypeVar("T")
M = TypeVar("M")
D = TypeVar("D")

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
    """Class names in the order of the outputs; empty for models without classes."""


AnyDescription = Description[Any, Any, Any]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where published weights were taken from, `origin` in `model.json`."""

    urls: tuple[str, ...]
    """Addresses of the files, or `hf:ORG/NAME`."""
    sha256: tuple[str, ...]
    """Their SHA-256."""
    revision: str = ""
    """Commit of a repository of the Hugging Face hub."""


@dataclass(frozen=True, kw_only=True)
class ModelJson:
    """Contents of a `model.json`, with task, model and data as values by field name."""

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
    """Working directory of the training run, which relative paths of its data start from."""


def save_model(
    folder: Path, weights: Mapping[str, Tensor], description: AnyDescription, *, origin: Origin | None = None
) -> None:
    """Write a model into an existing folder; `origin` is where its weights are published.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    content = model_json(description)
    if origin is not None:
        content["origin"] = asdict(origin)
    # surrogateescape: classes may be named after folders whose names are not UTF-8.
    text = strict_json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / DESCRIPTION).write_text(text, encoding="utf-8", errors="surrogateescape")
    try:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    except SafetensorError as error:  # raised for failed writes
        raise OSError(str(error)) from error


def model_json(description: AnyDescription) -> dict[str, Any]:
    """Return the contents of `model.json`."""
    return {"kinema": __version__, "format": _FORMAT, "folder": str(Path.cwd()), **_contents(description)}


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
    """Read `model.json`, of this or an earlier version; or what an exported file has of it.

    Raises:
        UserError: it is damaged, or of a later version.
    """
    exported = is_exported(folder)
    path = folder if exported else folder / DESCRIPTION
    try:
        content: dict[str, Any] = (
            read_metadata(folder)["model"]
            if exported
            else json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        )
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
    """Convert to format 2: views among the data, and the task by name."""
    architecture = content["architecture"]
    if architecture in ("bmn", "tem", "pem"):
        return {**content, "task_name": architecture}
    views = {name: content[name] for name in ("val_views", "test_views")}
    crop = {"box": {"scales": [1.0]}, "size": views["val_views"]["crops"]["size"]}  # the training crop is not stored
    clip = {"sampling": views["val_views"]["sampling"], "crop": crop}
    return {**content, "task_name": "recognition", "data": {**content["data"], **views, "train_clip": clip}}


def set_task_option(folder: Path, name: str, value: object) -> None:
    """Set an option of the task in `model.json`.

    Raises:
        UserError: it is damaged, or cannot be written.
    """
    path = read_model_json(folder).path  # says what is wrong with it
    content = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
    content["task"][name] = value
    try:
        write_text(path, strict_json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def read_origin(folder: Path) -> Origin | None:
    """Return the origin of a complete model in `folder`; None if there is no model, or none of published weights."""
    try:
        content: dict[str, Any] = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))["origin"]
        origin = Origin(urls=tuple(content["urls"]), sha256=tuple(content["sha256"]), revision=content["revision"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return origin if (folder / WEIGHTS).is_file() else None


def load_network(folder: Path, description: AnyDescription) -> nn.Module:
    """Return the network of a model or of an exported file, in eval mode.

    Raises:
        UserError: the files are damaged or of another architecture.
    """
    if is_exported(folder):
        log.info("model: %s", folder)
        return ExportedNetwork(folder)
    module: nn.Module = description.model.build()
    load_weights(module, folder)
    return module


def load_weights(module: nn.Module, folder: Path) -> None:
    """Load the weights in `folder` into a model and set it to eval mode.

    Raises:
        UserError: the file is damaged or of another architecture.
    """
    log.info("model: %s", folder)
    weights = read_weights(folder)
    check_same_weights(module.state_dict(), weights, origin=str(folder / WEIGHTS))
    module.load_state_dict(weights)
    module.eval()


def write_pipeline(folder: Path, *, model: str) -> None:
    """Record in the folder of a pipeline's run which stage's subfolder holds its model.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    write_text(folder / PIPELINE, strict_json.dumps({"model": model}) + "\n")


def check_same_model(folder: Path, description: AnyDescription) -> None:
    """Check that the model in `folder` has the network and classes of `description`, which a resumed run must keep.

    Raises:
        UserError: options or classes differ.
    """
    before, content = read_model_json(folder), json.loads(strict_json.dumps(_contents(description)))
    then = {"architecture": before.architecture, **before.model}
    now = {"architecture": content["architecture"], **content["model"]}
    # Options added after the version of `folder` have their defaults.
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
    """Return a hash of the weights in `folder`, or of an exported file, 16 hexadecimal digits."""
    with (folder if is_exported(folder) else folder / WEIGHTS).open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=8)).hexdigest()


def scores_digest(folder: Path) -> str:
    """Return `digest`, followed by the temperature of the scores of a calibrated model."""
    temperature = read_model_json(folder).task.get("temperature", 1.0)
    return digest(folder) + (f" temperature {temperature:.6g}" if temperature != 1 else "")


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read `model.safetensors`.

    Raises:
        UserError: the file is damaged, or holds NaN or infinity.
    """
    if is_exported(folder):
        raise UserError(f"{folder} is an exported file, which only computes: pass the model that it was exported from")
    path = folder / WEIGHTS
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    check_finite(weights, origin=str(path))
    return weights


def check_finite(weights: Mapping[str, Tensor], *, origin: str) -> None:
    """Check that all weights are finite.

    Raises:
        UserError: some are NaN or infinite.
    """
    names = [name for name, value in weights.items() if not value.isfinite().all()]
    if names:
        raise UserError(
            f"{origin} holds NaN or infinity in {len(names)} of {len(weights)} weights ({_first(names)}): "
            "its training diverged; pass an earlier checkpoint"
        )


def check_same_weights(expected: Mapping[str, Tensor], weights: Mapping[str, Tensor], *, origin: str) -> None:
    """Check that `weights` have the names and shapes of `expected`.

    Raises:
        UserError: they differ.
    """
    missing = [name for name in expected if name not in weights]
    unknown = [name for name in weights if name not in expected]
    shapes = [
        f"{name} {tuple(weights[name].shape)}, here {tuple(value.shape)}"
        for name, value in expected.items()
        if name in weights and weights[name].shape != value.shape
    ]
    kinds = {"missing": missing, "unknown": unknown, "of another shape": shapes}
    if faults := [f"{len(names)} {kind} ({_first(names)})" for kind, names in kinds.items() if names]:
        raise UserError(f"{origin} is of another architecture: of {len(expected)} weights, {'; '.join(faults)}")


def _first(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


OF_TRAINING = (
    "num_classes", "dropout", "init_std", "zero_init_residual", "frozen_stages", "norm_eval",
    "gradient_checkpointing", "drop_path", "pretrained", "formulation",
)  # fmt: skip
"""Model options that do not change what given weights compute."""


def warn_of_other_options(init: str, theirs: ModelOptions, ours: ModelOptions) -> None:
    """Warn if the weights were trained with other model options that change what they compute."""
    if type(theirs) is not type(ours):
        return
    names = [option.name for option in fields(ours) if option.name not in OF_TRAINING]
    others = {name: getattr(theirs, name) for name in names if getattr(theirs, name) != getattr(ours, name)}
    if others:
        log.warning(
            "the weights of %s were trained with other model options, which change what they compute; to start from "
            "the same network: %s",
            init,
            " ".join(f"--model.{name.replace('_', '-')} {as_argument(value)}" for name, value in others.items()),
        )
