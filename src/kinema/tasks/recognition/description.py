"""Descriptions of trained recognizers."""

from pathlib import Path

from kinema.errors import UserError
from kinema.models import Recognizer
from kinema.tasks.models import Types, load_model, read_description
from kinema.tasks.recognition.options import RecognitionOptions, RecognizerDescription
from kinema.weights.model_files import AnyDescription


def read_recognizer(folder: Path, types: Types | None = None) -> RecognizerDescription:
    """Read the `model.json` of a recognizer.

    Raises:
        UserError: it is damaged, or of a model of another task.
    """
    description = read_description(folder, types)
    check_recognizer(folder, description)
    return description


def load_recognizer(folder: Path, types: Types | None = None) -> tuple[Recognizer, RecognizerDescription]:
    """Build a recognizer with its weights, in eval mode.

    Raises:
        UserError: its files are damaged, or it is a model of another task.
    """
    read_recognizer(folder, types)
    module, description = load_model(folder, types)
    return module, description  # type: ignore[return-value]


def check_recognizer(folder: Path, description: AnyDescription) -> None:
    """Check that a model is a recognizer.

    Raises:
        UserError: it is a model of another task.
    """
    if not isinstance(description.task, RecognitionOptions):
        raise UserError(f"{folder} is a model of the recipe {description.recipe}, which is no recognizer; pass one")
