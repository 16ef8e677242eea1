"""Python API: train, load, test, report."""

import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kinema import training
from kinema.config import changed
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.tasks import models
from kinema.tasks.cross_validation import cross_validate, is_cross_validation
from kinema.training import RecipeConfig
from kinema.training.config import single_training
from kinema.training.task import (
    EvaluationOptions,
    EvaluationOutputs,
    HasCalibration,
    HasProposer,
    Predictor,
    TaskOptions,
)
from kinema.weights.find import find_model
from kinema.weights.published.table import is_published

if TYPE_CHECKING:
    from kinema.report.page.content import Metric, Section
    from kinema.report.page.runs import RunFolder
    from kinema.tasks.localization.video.localize import Localizer
    from kinema.tasks.localization.video.options import LocalizeOptions

log = logging.getLogger(__name__)

_LARGEST_PAGE = 20_000_000  # bytes of a report, which is opened in a browser and sent by mail


def train(
    config: RecipeConfig,
    *,
    work_dir: str | Path = "",
    resume: bool = False,
    init: str | Path = "",
    given: Collection[str] = (),
) -> dict[str, float]:
    """Train a model as `kinema train` does; see `kinema.training.train`.

    With `data.folds` a model of each fold is trained and tested, see `kinema.tasks.cross_validation`.
    Options that differ from the recipe's count as given. `work_dir` also receives `curves.png` and `tensorboard/`.
    """
    from kinema.report.observers import observers_of

    given, observers = changed_options(config, given), observers_of(config)
    if is_cross_validation(config):
        return cross_validate(config, work_dir=work_dir, resume=resume, init=init, given=given, observers=observers)
    return training.train(config, work_dir=work_dir, resume=resume, init=init, given=given, observers=observers)


def changed_options(config: RecipeConfig, given: Collection[str] = ()) -> set[str]:
    """Return the dotted keys `given`, and those of options that differ from the recipe's."""
    return {*given, *(changed(config, config_of(config.recipe)) if config.recipe else ())}


def load(model: str | Path, *, device: str = "auto", recipe: str = "") -> Predictor:
    """Load a trained model for use.

    Args:
        model: a run folder, a checkpoint folder, a `model.safetensors`, `zoo:NAME`, `hf:ORG/NAME` or an exported file.
        device: `auto`, `cpu` or `cuda`.
        recipe: `my_file.py:function`, if the file of the model's own task or network has moved since training.

    Raises:
        UserError: there is no model, its files are damaged, or the device is unavailable.
    """
    return models.load(model, device=device, types=types_of_recipe(recipe))


def load_localizer(model: str | Path, options: "LocalizeOptions") -> "Localizer":
    """Load a localizer for raw videos: with the recognizer that extracts its features, or a recognizer alone.

    Args:
        model: a run folder, a checkpoint folder, a `model.safetensors`, `zoo:NAME`, `hf:ORG/NAME` or an exported file.
        options: features, classifier and number of results; of a recognizer alone, its scores along a video.

    Raises:
        UserError: a model is missing, or the models do not match.
    """
    from kinema.runtime.device import RuntimeOptions
    from kinema.tasks.localization.video.curves import CurveLocalizer
    from kinema.tasks.localization.video.localize import VideoLocalizer, features_folder
    from kinema.tasks.recognition.features.encoder import RecognizerEncoder

    folder = find_model(model)
    description = models.read_description(folder)
    runtime = RuntimeOptions(device=options.device, precision=options.precision)
    if not isinstance(description.task, HasProposer):
        task: TaskOptions = description.task
        return CurveLocalizer(task.load(folder, description, runtime), options)
    proposer = description.task.load_proposer(folder, description, runtime)
    encoder = RecognizerEncoder(
        features_folder(proposer, options),
        options.classifier,
        device=options.device,
        precision=options.precision,
        fps=options.fps,
    )
    return VideoLocalizer(proposer, encoder, options)


def evaluation_options(model: str | Path, *, recipe: str = "") -> EvaluationOptions[Any, Any]:
    """Return the default options of a test of a model, for `run_test`.

    Raises:
        UserError: there is no model, or its files are damaged.
    """
    description = models.read_description(find_model(model), types_of_recipe(recipe))
    task: TaskOptions = description.task
    return task.test_options(description)


def run_test(
    model: str | Path,
    options: EvaluationOptions[Any, Any],
    *,
    folder: Path,
    dump: Path | None = None,
    font: Path | None = None,
    recipe: str = "",
) -> dict[str, float]:
    """Test a trained model as `kinema test` does, and return its metrics.

    Args:
        model: a run folder, a checkpoint folder, a `model.safetensors`, `zoo:NAME` or `hf:ORG/NAME`.
        options: videos and views.
        folder: receives `metrics.json`, `data.json` and the task's further files.
        dump: npz file for the scores of all videos.
        font: font file for class names that DejaVu Sans lacks glyphs for.
        recipe: as in `load`.

    Raises:
        UserError: the model or the data are unusable, there are more bad videos than `max_bad_fraction` allows, or the
            results cannot be written.
        StorageOutage: storage did not respond for `options.data.patience` seconds.
    """
    files = find_model(model)
    description = models.read_description(files, types_of_recipe(recipe))
    outputs = EvaluationOutputs(folder=folder, dump=dump, font=font)
    task: TaskOptions = description.task
    return task.test(files, description, options, outputs)


def write_report(runs: Sequence[str | Path], output: Path, *, clips: int = 12, recipe: str = "") -> None:
    """Write a report on one run, or a comparison of several, as one HTML page without references to other files.

    Args:
        runs: work dirs of trainings; of a pipeline or a cross-validation all runs in it.
        output: HTML file to write.
        clips: most videos of each kind to embed, for all runs together.
        recipe: as in `load`.

    Raises:
        UserError: a folder holds no run, a file is damaged, or the page cannot be written.
    """
    from kinema.console import warnings_once
    from kinema.report.page.build import build_page
    from kinema.report.page.html import render
    from kinema.report.page.runs import read_runs
    from kinema.storage import write_text
    from kinema.storage.outputs import cannot_write, check_writable

    folders, sections, metrics = read_runs([*map(Path, runs)]), list["Sequence[Section]"](), list["Sequence[Metric]"]()
    check_writable(output)
    with warnings_once():  # all runs may have the same data
        for run in folders:
            described, plotted = _describe_run(run, clips=clips // len(folders), recipe=recipe)
            sections.append(described)
            metrics.append(plotted)
    page = render(build_page(folders, sections, metrics))
    if len(page) > _LARGEST_PAGE:
        raise UserError(
            f"{output} would have {len(page) / 1e6:.0f} MB, of at most {_LARGEST_PAGE / 1e6:.0f}: pass fewer --clips "
            "or fewer runs"
        )
    try:
        write_text(output, page)
    except OSError as error:
        raise cannot_write(error, output.parent) from error


def _describe_run(run: "RunFolder", *, clips: int, recipe: str) -> "tuple[Sequence[Section], Sequence[Metric]]":
    """Return what the task of a run says of it, and the metrics to plot."""
    from kinema.report.page.content import HasReport, Note, ReportedRun, Section
    from kinema.report.page.pictures import validation_pictures

    try:
        description = models.read_description(find_model(run.path), types_of_recipe(recipe))
    except UserError as error:
        text = f"The run has no model that can be read, so that tests and data are not described: {error}"
        return [Section(title="Test", blocks=[Note(text=text)])], ()
    tested = ReportedRun(
        run=run.path,
        test=run.test,
        description=description,
        metrics=run.metrics,
        validation=run.validation,
        max_clips=clips,
    )
    task = description.task
    if isinstance(task, HasReport):
        return task.report(tested), task.main_metrics()
    name = type(task).__name__
    log.warning("%s: %s has no report (`main_metrics()`, `report()`): data and tests are left out", run.path, name)
    text = f"The task {name} describes neither data nor tests, so that the page has curves, pictures and facts."
    return [Section(title="Test", blocks=[Note(text=text)]), *validation_pictures(tested)], ()


def calibrate(model: str | Path, options: EvaluationOptions[Any, Any], *, recipe: str = "") -> dict[str, float]:
    """Fit the temperature of a model's probabilities and store it with the model, as `kinema calibrate` does.

    Args:
        model: a run folder, a checkpoint folder, or a `model.safetensors`.
        options: videos and views, see `evaluation_options`.
        recipe: as in `load`.

    Returns:
        See `kinema.training.task.HasCalibration`.

    Raises:
        UserError: the model or the data are unusable, or the model has no probabilities.
    """
    if is_published(str(model)):
        raise UserError(f"{model}: published weights are kept as they are; calibrate a model of your own")
    files = find_model(model)
    description = models.read_description(files, types_of_recipe(recipe))
    task = description.task
    if not isinstance(task, HasCalibration):
        raise UserError(f"{model} is a model of the recipe {description.recipe}, which has no class probabilities")
    return task.calibrate(files, description, options)


def types_of_recipe(recipe: str) -> models.Types | None:
    """Return the types of a recipe's options, see `read_description`; None without a recipe.

    Raises:
        UserError: there is no such recipe, or it has several networks.
    """
    if not recipe:
        return None
    training = single_training(config_of(recipe))
    return models.Types(type(training.task), type(training.model), type(training.data))
