"""Temperature scaling: probabilities that are as often right as they say (Guo et al., ICML 2017, arXiv:1706.04599)."""

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinema.data.bad_files import BadFiles
from kinema.data.dataset import open_val_index
from kinema.data.lists.annotations import check_labels
from kinema.data.options import ClipData
from kinema.errors import UserError
from kinema.report.calibration import calibration
from kinema.runtime.device import to_device
from kinema.runtime.processes import process_group
from kinema.tasks.recognition.evaluation.ensemble import label_array
from kinema.tasks.recognition.evaluation.evaluate import evaluate, evaluation_batches
from kinema.tasks.recognition.scoring import multi_hot, video_losses, video_scores
from kinema.tasks.recognition.settings import RecognitionSettings, RecognizerDescription
from kinema.training.task import EvaluationOptions
from kinema.weights.model_files import load_weights, set_task_option

log = logging.getLogger(__name__)

COLDEST, HOTTEST = 0.05, 20.0
"""Range of temperatures that are tried."""
_GRID, _PRECISION = 49, 1e-5


def run_calibration(
    model: Path, description: RecognizerDescription, options: EvaluationOptions[RecognitionSettings, ClipData]
) -> dict[str, float]:
    """Fit the temperature of a model on `options.data.val`, with the views of a test, and store it in `model.json`.

    Returns:
        `temperature`; `nll_before`, `nll_after`, `ece_before`, `ece_after`: negative log-likelihood and expected
        calibration error at temperature 1 and at this one; `videos`, `bad_files`.

    Raises:
        UserError: the model or the data are faulty, more videos are bad than `max_bad_fraction` allows, there are
            several processes, or the model cannot be written.
        StorageOutage: the storage did not answer for `options.data.storage.patience` seconds.
    """
    uncalibrated = replace(options.task, temperature=1.0)
    with process_group(options.runtime, wait=options.data.patience) as process:
        if process.world > 1:
            raise UserError("kinema calibrate runs in one process: start it without torchrun")
        index = open_val_index(options.data, description.classes, labels=options.task.labels)
        check_labels(index, len(description.classes), advice="these are the model's, --data.val lists other videos")
        module = description.model.build()
        load_weights(module, model)
        found = evaluate(
            to_device(module, process.device, options.runtime),
            evaluation_batches(index, options.data.test_views, options.data, process),
            num_classes=len(description.classes),
            task=uncalibrated,
            runtime=options.runtime,
            process=process,
            keep_logits=True,
        )
    bad_files = BadFiles(num_videos=len(index), max_fraction=options.data.max_bad_fraction, listing=None)
    bad_files.add(found.bad)
    bad_files.check()
    if found.logits is None:
        raise UserError("no video could be read: there is nothing to fit a temperature on")
    labels = label_array(index, len(description.classes))[found.rows]
    if labels.ndim == 2:
        labels = np.where(labels, np.arange(labels.shape[1]), -1)
    result = calibrate(found.logits, torch.from_numpy(labels), uncalibrated)
    set_task_option(model, "temperature", result["temperature"])
    return result | {"videos": len(labels), "bad_files": len(found.bad)}


def calibrate(logits: Tensor, labels: Tensor, options: RecognitionSettings) -> dict[str, float]:
    """Fit the temperature at which the scores of videos have the lowest negative log-likelihood.

    Args:
        logits: of the views, (N, V, classes) float32.
        labels: (N,) int64; or (N, L) int64, rows padded with -1.
        options: how the views are averaged; their temperature is not used.

    Returns:
        `temperature`, `nll_before`, `nll_after`, `ece_before`, `ece_after`; see `run_calibration`.
    """

    def nll(temperature: float) -> float:
        return float(video_losses(logits, labels, replace(options, temperature=temperature)).double().mean())

    temperature = minimize(nll, COLDEST, HOTTEST)
    if temperature in (COLDEST, HOTTEST):
        log.warning(
            "the best temperature is %g or beyond: the videos are too few, or almost all answers are right", temperature
        )
    result = {"temperature": temperature}
    for name, value in (("before", 1.0), ("after", temperature)):
        scores = video_scores(logits, replace(options, temperature=value))
        result |= {f"nll_{name}": nll(value), f"ece_{name}": calibration_error(scores, labels)}
    return result


def calibration_error(scores: Tensor, labels: Tensor) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 3) of scores (N, classes), over 15 bins.

    It is that of the class with the highest score or, of multi-label videos, of all classes together.
    """
    if labels.ndim == 2:
        confidence, right = scores.flatten(), multi_hot(labels, scores.shape[1]).flatten() == 1
    else:
        confidence, answers = scores.max(1)
        right = answers == labels
    return calibration(confidence.numpy(), right.numpy()).error


def minimize(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where a function of one positive number is lowest: the best of a logarithmic grid, refined between its
    neighbors by golden-section search (Kiefer 1953), as a mixture of views may have several minima.
    """
    grid = [float(point) for point in np.geomspace(low, high, _GRID)]
    best = min(range(_GRID), key=lambda index: function(grid[index]))
    if best in (0, _GRID - 1):
        return (low, high)[best > 0]
    left, right = math.log(grid[best - 1]), math.log(grid[best + 1])
    ratio = (math.sqrt(5) - 1) / 2
    inner, outer = right - ratio * (right - left), left + ratio * (right - left)
    values = function(math.exp(inner)), function(math.exp(outer))
    while right - left > _PRECISION:
        if values[0] < values[1]:
            right, outer = outer, inner
            inner = right - ratio * (right - left)
            values = function(math.exp(inner)), values[0]
        else:
            left, inner = inner, outer
            outer = left + ratio * (right - left)
            values = values[1], function(math.exp(outer))
    return math.exp((left + right) / 2)
