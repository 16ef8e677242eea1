"""A model on disk: `model.safetensors`, and `model.json` with all that is needed to use it."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b, file_digest
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kinema import strict_json
from kinema.data.dataset import DataOptions
from kinema.data.views import Views
from kinema.errors import UserError
from kinema.models import (
    Localizer,
    LocalizerOptions,
    ModelOptions,
    Recognizer,
    RecognizerOptions,
    build,
    name_of,
    options_from,
)
from kinema.models.foreign import Source
from kinema.storage import standing
from kinema.tasks.localization.data import FeatureData, ProposalData
from kinema.tasks.localization.options import BMNTask, LocalizationTask, PEMTask, TEMTask
from kinema.tasks.recognition import RecognitionOptions
from kinema.version import __version__
from kinema.weights.foreign_files import read_foreign_weights, tools_of
from kinema.weights.own_paths import resolved

log = logging.getLogger(__name__)

M = TypeVar("M", bound=nn.Module)

_WEIGHTS, _DESCRIPTION = "model.safetensors", "model.json"


@dataclass(kw_only=True)
class ModelDescription:
    """What a recognizer is, what its classes are called, and how videos are shown to it."""

    recipe: str
    model: RecognizerOptions
    classes: tuple[str, ...]
    task: RecognitionOptions
    data: DataOptions
    val_views: Views
    test_views: Views


@dataclass(kw_only=True)
class LocalizerDescription:
    """What a localizer is, how its proposals are chosen, and what features it reads."""

    recipe: str
    model: LocalizerOptions
    task: LocalizationTask
    data: FeatureData | ProposalData


Description = ModelDescription | LocalizerDescription


def save_model(folder: Path, weights: Mapping[str, Tensor], description: Description) -> None:
    """Write a model into an existing folder.

    Raises:
        OSError: the disk is full or the folder is not writable.
    """
    # Relative paths of the data start from the folder that the program was started in.
    about = {"kinema": __version__, "folder": str(Path.cwd()), "architecture": name_of(description.model)}
    content = {**about, **asdict(description)}
    # surrogateescape: a class may be called after a folder whose name is not UTF-8.
    text = strict_json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / _DESCRIPTION).write_text(text, encoding="utf-8", errors="surrogateescape")
    try:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / _WEIGHTS)
    except SafetensorError as error:  # its way to say that writing failed
        raise OSError(str(error)) from error


def load_model(model: Path) -> tuple[Recognizer, ModelDescription]:
    """Build the recognizer of a run folder, a checkpoint folder or a `model.safetensors`, in eval mode.

    Raises:
        UserError: there is no model, or a localizer, or its files are damaged.
    """
    folder = find_model(model)
    description = read_description(folder)
    return _filled(build(description.model), folder), description


def load_localizer(model: Path) -> tuple[Localizer, LocalizerDescription]:
    """Build the localizer of a run folder, a checkpoint folder or a `model.safetensors`, in eval mode.

    Raises:
        UserError: there is no model, or a recognizer, or its files are damaged.
    """
    folder = find_model(model)
    description = read_localizer_description(folder)
    return _filled(build(description.model), folder), description


def _filled(module: M, folder: Path) -> M:
    log.info("model: %s", folder)
    weights = read_weights(folder)
    check_same_weights(module.state_dict(), weights, origin=str(folder / _WEIGHTS))
    module.load_state_dict(weights)
    module.eval()
    return module


def find_model(model: Path) -> Path:
    """The folder that holds the model files: of a run, its best checkpoint, else its last.

    Raises:
        UserError: nothing there is a model.
    """
    if model.suffix == ".safetensors":
        model = model.parent
    if (model / "pem").is_dir():  # a run of BSN's three stages: the last one is what its proposals come from
        model = model / "pem"
    # Only looked at here: a run that is under way puts its folders in order itself.
    checkpoints = (standing(model / "checkpoints" / name) for name in ("best", "last"))
    for folder in (standing(model), *checkpoints):
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


def _tool(checkpoint: Path) -> str:
    """The tool that a checkpoint's weights are named by, or all that it may be of."""
    try:
        tools = tools_of(read_foreign_weights(checkpoint))
    except UserError:
        tools = {}
    sources: tuple[str, ...] = get_args(Source)
    return next((tool for tool in tools if tool in sources), "|".join(sources))


def read_description(folder: Path) -> ModelDescription:
    """Read the `model.json` of a recognizer.

    Raises:
        UserError: it is damaged, or of a kind that this version does not know, or of a localizer.
    """
    description = read_any_description(folder)
    if not isinstance(description, ModelDescription):
        raise UserError(
            f"{folder} is a {name_of(description.model)}, which finds when something happens; "
            "here a model is needed that tells what happens in a clip"
        )
    return description


def read_localizer_description(folder: Path) -> LocalizerDescription:
    """Read the `model.json` of a localizer.

    Raises:
        UserError: it is damaged, or of a kind that this version does not know, or of a recognizer.
    """
    description = read_any_description(folder)
    if not isinstance(description, LocalizerDescription):
        raise UserError(
            f"{folder} is a {name_of(description.model)}, which tells what happens in a clip; "
            f"here a model is needed that finds when something happens: {', '.join(_KINDS)}"
        )
    return description


def is_localizer(model: Path) -> bool:
    """Whether a model finds when something happens, rather than what.

    Raises:
        UserError: there is no model, or its files are damaged.
    """
    return isinstance(read_any_description(find_model(model)), LocalizerDescription)


def read_any_description(folder: Path) -> Description:
    """Read `model.json`; relative paths of the data are those that the run was given, see `resolved`.

    Raises:
        UserError: it is damaged, or of a kind that this version does not know.
    """
    path = folder / _DESCRIPTION
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8", errors="surrogateescape"))
        del content["kinema"]
        architecture = content.pop("architecture")
        model = options_from(architecture, content.pop("model"))
        kinds = _KINDS.get(architecture, _RECOGNIZER)
        rest = {name: TypeAdapter(kind).validate_python(content.pop(name)) for name, kind in kinds.items()}
        rest["data"] = resolved(rest["data"], str(content.get("folder", "")))
    except (json.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
        raise UserError(f"{path} is damaged or was written by another version of Kinema: {error}") from error
    kind: type[Any] = LocalizerDescription if architecture in _KINDS else ModelDescription
    description: Description = kind(model=model, **rest)
    return description


_RECOGNIZER: dict[str, Any] = {
    "recipe": str,
    "classes": tuple[str, ...],
    "task": RecognitionOptions,
    "data": DataOptions,
    "val_views": Views,
    "test_views": Views,
}
_KINDS: dict[str, dict[str, Any]] = {
    "bmn": {"recipe": str, "task": BMNTask, "data": FeatureData},
    "tem": {"recipe": str, "task": TEMTask, "data": FeatureData},
    "pem": {"recipe": str, "task": PEMTask, "data": ProposalData},
}
"""What stands in `model.json`, by architecture; recognizers have the first."""


def check_same_model(folder: Path, description: Description) -> None:
    """Check that the model in `folder` has the network and the classes of `description`, as a resumed run must.

    Raises:
        UserError: it has not; says which options or classes differ.
    """
    before = read_any_description(folder)
    then, now = ({"architecture": name_of(one.model), **asdict(one.model)} for one in (before, description))
    changes = [f"{key} {then.get(key)} → {now.get(key)}" for key in {**then, **now} if then.get(key) != now.get(key)]
    if isinstance(before, ModelDescription) and isinstance(description, ModelDescription):
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
