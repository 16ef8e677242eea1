"""Testing of a trained model on labeled videos."""

from pathlib import Path

import numpy as np

from kinema.data.dataset import open_val_index
from kinema.data.lists.annotations import check_labels
from kinema.data.lists.index import Index
from kinema.data.options import ClipData
from kinema.report.fonts import check_font, say_missing
from kinema.report.plots import draw_confusion
from kinema.runtime.device import to_device
from kinema.runtime.processes import outage_shared, process_group
from kinema.storage import replacing, write_csv
from kinema.storage.outputs import check_writable
from kinema.tasks.recognition.evaluation.ensemble import label_array
from kinema.tasks.recognition.evaluation.evaluate import Evaluation, evaluate, evaluation_batches, gather_on_main
from kinema.tasks.recognition.evaluation.per_class import confusion_table, per_class_table
from kinema.tasks.recognition.settings import RecognitionSettings, RecognizerDescription
from kinema.tasks.recognition.splits import warn_of_unlabeled
from kinema.tasks.results import writing_results
from kinema.training.task import EvaluationOptions, EvaluationOutputs
from kinema.weights.model_files import load_network

Options = EvaluationOptions[RecognitionSettings, ClipData]


def run_test(
    model: Path, description: RecognizerDescription, options: Options, outputs: EvaluationOutputs
) -> dict[str, float]:
    """Test a model on `options.data.val` and return its metrics.

    Processes that torchrun started divide the videos; the first of them writes the results.

    Args:
        model: the folder of the model's files.
        description: of the model.
        options: the videos and their views.
        outputs: the folder receives `metrics.json`, `data.json` (which videos were tested), `confusion.png` where each
            video has one label, with `confusion.csv`, the table of `per_class.csv` (see `per_class_table`) and, if
            there are any, `bad_files.csv`; the dump holds `paths` (n,) text (that of a
            segment is `a.mp4#t=1.5,3`), `labels` (n,) int64, or (n, classes) int64 of 0 and 1 where videos have any
            number of labels, `scores` (n, classes) float32, and `classes` (classes,) text.

    Raises:
        UserError: the model or the data are faulty, more videos are bad than `max_bad_fraction` allows, or the results
            cannot be written.
        StorageOutage: the storage did not answer for `options.data.storage.patience` seconds.
    """
    check_font(outputs.font)
    check_writable(outputs.folder / "metrics.json", outputs.dump)
    with process_group(options.runtime, wait=options.data.patience) as process:
        module = load_network(model, description)
        with outage_shared():
            index = open_val_index(options.data, description.classes, labels=options.task.labels)
            check_labels(
                index, len(description.classes), advice="these are the model's, --data.val lists what it is tested on"
            )
            warn_of_unlabeled(index)
            batches = evaluation_batches(index, options.data.test_views, options.data, process)
        evaluation = evaluate(
            to_device(module, process.device, options.runtime),
            batches,
            num_classes=len(description.classes),
            task=options.task,
            runtime=options.runtime,
            process=process,
        )
        if outputs.dump is not None:
            evaluation = gather_on_main(evaluation)
        process.run_on_main(lambda: _write(evaluation, index, options, description.classes, outputs))
    return evaluation.metrics


def _write(
    evaluation: Evaluation, index: Index, options: Options, classes: tuple[str, ...], outputs: EvaluationOutputs
) -> None:
    """Write the results, unless too many videos are bad."""
    folder = outputs.folder
    with writing_results(folder, evaluation.metrics, evaluation.bad, data=options.data, num_videos=len(index)):
        write_csv(folder / "per_class.csv", per_class_table(evaluation.per_class, classes))
        if evaluation.confusion is not None:
            write_csv(folder / "confusion.csv", confusion_table(evaluation.confusion, classes))
            say_missing(classes, outputs.font)
            draw_confusion(evaluation.confusion, classes, folder / "confusion.png", font=outputs.font)
        if outputs.dump is not None:
            _dump(outputs.dump, evaluation, index, classes)


def _dump(path: Path, evaluation: Evaluation, index: Index, classes: tuple[str, ...]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            paths=np.array([index.name(row) for row in evaluation.rows]),
            labels=label_array(index, len(classes))[evaluation.rows],
            scores=evaluation.scores,
            classes=np.array(classes),
        )
