"""Descriptions of trained localizers."""

from pathlib import Path

from kinema.errors import UserError
from kinema.models import Localizer
from kinema.runtime.device import RuntimeOptions
from kinema.tasks.localization.options import LocalizerDescription, LocalizerOptions
from kinema.tasks.localization.proposer import Proposer
from kinema.tasks.models import load_model, read_description
from kinema.weights.model_files import find_model


def read_localizer(folder: Path) -> LocalizerDescription:
    """Read the `model.json` of a localizer.

    Raises:
        UserError: it is damaged, or of a model of another task.
    """
    description = read_description(folder)
    if not isinstance(description.task, LocalizerOptions):
        raise UserError(
            f"{folder} is a model of the recipe {description.recipe}, which is no localizer; pass a BMN, TEM or PEM"
        )
    return description


def load_localizer(model: Path) -> tuple[Localizer, LocalizerDescription]:
    """Build the localizer of a run folder, a checkpoint folder or a `model.safetensors`, in eval mode.

    Raises:
        UserError: there is no model, its files are damaged, or it is a model of another task.
    """
    folder = find_model(model)
    description = read_localizer(folder)
    module, _ = load_model(folder)
    return module, description  # type: ignore[return-value]


def load_proposer(model: Path, runtime: RuntimeOptions) -> Proposer:
    """Load a localizer to propose segments of raw videos.

    Args:
        model: a run folder, also of a pipeline, a checkpoint folder or a `model.safetensors`.
        runtime: device and precision.

    Raises:
        UserError: there is no localizer, or one of its networks is missing, or files are damaged.
    """
    folder = find_model(model)
    description = read_localizer(folder)
    return description.task.load_proposer(folder, description, runtime)
