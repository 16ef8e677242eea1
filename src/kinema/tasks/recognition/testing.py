"""Testing a trained model on labelled videos."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema import strict_json
from kinema.data.bad_files import BadFiles
from kinema.data.dataset import DataOptions, open_val_index
from kinema.data.lists.annotations import check_labels
from kinema.data.lists.index import Index
from kinema.data.loader import num_workers
from kinema.data.views import Views
from kinema.report.fonts import check_font, say_missing
from kinema.report.plots import draw_confusion
from kinema.runtime.device import RuntimeOptions, place
from kinema.runtime.processes import joined, outage_shared
from kinema.storage import replacing, write_text
from kinema.storage.outputs import cannot_write, check_writable
from kinema.tasks.recognition import RecognitionOptions, warn_of_unlabelled
from kinema.tasks.recognition.ensemble import label_array
from kinema.tasks.recognition.evaluation import Evaluation, evaluate, evaluation_batches, in_first
from kinema.weights.model_files import find_model, load_model, read_description
from kinema.weights.own_paths import write_tested_on


@dataclass(kw_only=True)
class EvaluationOptions:
    """What can be changed when a model is tested; by default all is as its recipe says."""

    data: DataOptions
    task: RecognitionOptions
    test_views: Views
    runtime: RuntimeOptions


def evaluation_options(model: Path) -> EvaluationOptions:
    """The options that a model was saved with, to be changed and given to `run_test`.

    Raises:
        UserError: there is no model, or its files are damaged.
    """
    described = read_description(find_model(model))
    return EvaluationOptions(
        data=described.data, task=described.task, test_views=described.test_views, runtime=RuntimeOptions()
    )


def run_test(
    model: Path, options: EvaluationOptions, *, folder: Path, dump: Path | None = None, font: Path | None = None
) -> dict[str, float]:
    """Test a model on `options.data.val` and return its metrics.

    Processes that torchrun started divide the videos; the first of them writes the results.

    Args:
        model: a run folder, a checkpoint folder or a `model.safetensors`.
        options: where the videos are and how they are seen.
        folder: receives `metrics.json`, `data.json` (which videos were tested), `confusion.png` where each video has
            one label and, if there are any, `bad_files.csv`.
        dump: an npz file for each video's result: `paths` (n,) text, `labels` (n,) int64, or (n, classes) int64 of 0
            and 1 where videos have any number of labels, `scores` (n, classes) float32, and `classes` (classes,) text.
        font: a font file for names of classes that DejaVu Sans cannot write.

    Raises:
        UserError: the model or the data are faulty, more videos are bad than `max_bad_fraction` allows, or the results
            cannot be written.
        StorageOutage: the storage did not answer for `options.data.storage.patience` seconds.
    """
    check_font(font)
    check_writable(folder / "metrics.json", dump)
    with joined(options.runtime, wait=options.data.storage.patience) as process:
        module, described = load_model(model)
        with outage_shared():
            index = open_val_index(options.data, described.classes, labels=options.task.labels)
            check_labels(
                index, len(described.classes), advice="these are the model's, --data.val lists what it is tested on"
            )
            warn_of_unlabelled(index)
            batches = evaluation_batches(
                index,
                options.test_views,
                options.data,
                workers=num_workers(options.data.workers, process.local_world),
                rank=process.rank,
                world=process.world,
            )
        evaluation = evaluate(
            place(module, process.device, options.runtime),
            batches,
            num_classes=len(described.classes),
            task=options.task,
            runtime=options.runtime,
            device=process.device,
            show=process.is_main,
        )
        if dump is not None:
            evaluation = in_first(evaluation)
        process.first_does(
            lambda: _write(evaluation, index, options, described.classes, folder=folder, dump=dump, font=font)
        )
    return evaluation.metrics


def _write(
    evaluation: Evaluation,
    index: Index,
    options: EvaluationOptions,
    classes: tuple[str, ...],
    *,
    folder: Path,
    dump: Path | None,
    font: Path | None,
) -> None:
    """Leave the results behind, unless too many videos are bad."""
    listing = folder / "bad_files.csv"
    listing.unlink(missing_ok=True)
    bad_files = BadFiles(num_videos=len(index), max_fraction=options.data.max_bad_fraction, listing=listing)
    bad_files.add(evaluation.bad)
    bad_files.check()
    try:
        write_tested_on(folder, options.data)
        write_text(folder / "metrics.json", strict_json.dumps(evaluation.metrics, indent=2) + "\n")
        if evaluation.confusion is not None:
            say_missing(classes, font)
            draw_confusion(evaluation.confusion, classes, folder / "confusion.png", font=font)
        if dump is not None:
            _dump(dump, evaluation, index, classes)
    except OSError as error:
        raise cannot_write(error, folder) from error


def _dump(path: Path, evaluation: Evaluation, index: Index, classes: tuple[str, ...]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            paths=np.array([index.path(row) for row in evaluation.rows]),
            labels=label_array(index, len(classes))[evaluation.rows],
            scores=evaluation.scores,
            classes=np.array(classes),
        )
