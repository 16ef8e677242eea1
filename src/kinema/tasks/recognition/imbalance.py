"""Remedies for classes of different frequency: weights of classes in the loss, balanced sampling."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinema.data.lists.index import Index
from kinema.errors import UserError, did_you_mean
from kinema.tasks.recognition.settings import RecognitionConfig

_EXPECTED = 'expected CSV with columns class and weight, or JSON {"class": weight}'


def check_balancing(config: RecognitionConfig[Any]) -> None:
    """Check the options against each other.

    Raises:
        UserError: videos with several labels are to be balanced, or classes are to be balanced twice.
    """
    if not config.data.balanced:
        return
    if config.task.labels == "multi":
        raise UserError("--data.balanced is for videos with one label; for labels multi pass --task.class-weights")
    if config.task.class_weights == "balanced":
        raise UserError(
            "--data.balanced makes all classes equally frequent; with --task.class-weights balanced, rare ones would "
            "count too much: pass one of them"
        )


def class_weights(option: str, index: Index, classes: Sequence[str]) -> NDArray[np.float32] | None:
    """Return the weights of the classes in the loss, (classes,); None: all 1. See `RecognitionSettings.class_weights`.

    Args:
        option: empty, `balanced`, or a file.
        index: the training videos.
        classes: their names.

    Raises:
        UserError: the file is faulty.
    """
    if not option:
        return None
    if option != "balanced":
        return _from_file(Path(option), classes)
    labels = index.labels.numpy()
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    if index.label_offsets is None:
        weights = len(index) / ((counts > 0).sum() * counts.clip(min=1))
    else:
        weights = (len(index) - counts) / counts.clip(min=1)
    return np.where(counts > 0, weights, 1).astype(np.float32)


def _from_file(path: Path, classes: Sequence[str]) -> NDArray[np.float32]:
    weights = _read(path)
    faults = [
        f"class '{name}' is none of the data's{did_you_mean(name, classes)}" for name in weights if name not in classes
    ]
    faults += [f"class '{name}' is missing" for name in classes if name not in weights]
    faults += [
        f"class '{name}' has the weight {weight!r}; expected a number of at least 0"
        for name, weight in weights.items()
        if not _is_weight(weight)
    ]
    if not faults and not any(weights.values()):
        faults.append("all weights are 0")
    if faults:
        raise UserError(f"--task.class-weights {path}: " + "; ".join(faults))
    return np.array([weights[name] for name in classes], np.float32)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"--task.class-weights {path}: {reason}; expected balanced or a file") from error
    if path.suffix == ".json":
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise UserError(f"{path} is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise UserError(f"{path}: {_EXPECTED}")
        return content
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or not {"class", "weight"} <= set(rows[0]):
        raise UserError(f"{path}: {_EXPECTED}")
    return {row["class"]: _number(row["weight"]) for row in rows}


def _number(text: str | None) -> float | str | None:
    try:
        return float(text or "")
    except ValueError:
        return text


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
