"""Testing a trained localizer on the videos of a ground truth."""

from pathlib import Path
from typing import Any

from kinema.errors import UserError
from kinema.runtime.device import to_device
from kinema.runtime.processes import outage_shared, process_group
from kinema.storage import write_csv
from kinema.storage.outputs import check_writable
from kinema.tasks.localization.data.features import OpenSplit, Split
from kinema.tasks.localization.data.videos import read_truth
from kinema.tasks.localization.evaluation import ProposalEvaluation, evaluate_localizer
from kinema.tasks.localization.metrics.results import write_results
from kinema.tasks.localization.options import LocalizerDescription
from kinema.tasks.results import writing_results
from kinema.training.task import EvaluationOptions, EvaluationOutputs
from kinema.weights.model_files import load_network


def run_localizer_test(
    model: Path, description: LocalizerDescription, options: EvaluationOptions[Any, Any], outputs: EvaluationOutputs
) -> dict[str, float]:
    """Test a localizer's proposals on the videos of `options.data.val_subset`, all of whose instances count.

    Processes that torchrun started divide the videos; the first of them writes the results.

    Args:
        model: the folder of the model's files.
        description: of the model.
        options: the videos' features, and how proposals are chosen.
        outputs: the folder receives `metrics.json`, `data.json` (which videos were tested), the proposals in
            ActivityNet's layout as `results.json`, of detectors the AP of each class as `per_class.csv`, and, if there
            are any, `bad_files.csv`.

    Returns:
        `loss`, `AR@1`, `AR@5`, `AR@10`, `AR@100`, `AUC` (fractions), `videos`, `bad_files` (counts).

    Raises:
        UserError: the model or the data are faulty, more videos are bad than `max_bad_fraction` allows, or the results
            cannot be written.
        StorageOutage: the storage did not answer for `options.data.storage.patience` seconds.
    """
    if outputs.dump is not None:
        raise UserError("--dump keeps the scores of a recognizer; a localizer's proposals are in results.json")
    folder, data = outputs.folder, options.data
    check_writable(folder / "metrics.json")
    with process_group(options.runtime, wait=data.patience) as process:
        module = load_network(model, description)
        with outage_shared():
            truth = read_truth(data.ground_truth, data.val_subset, own_file=True)
            splits = [Split("test", data.ground_truth, truth)]
            (split,) = data.open(splits, description.model, options.task, description.classes)
            batches = split.eval_batches(options.task.labels, process)
        found = evaluate_localizer(
            to_device(module, process.device, options.runtime),
            batches,
            split=split,
            task=options.task,
            runtime=options.runtime,
            process=process,
        )
        process.run_on_main(lambda: _write(found, split, options, folder))
    return found.metrics


def _write(found: ProposalEvaluation, split: OpenSplit, options: EvaluationOptions[Any, Any], folder: Path) -> None:
    """Leave the results behind, unless too many videos are bad."""
    with writing_results(folder, found.metrics, found.bad, data=options.data, num_videos=len(split.videos)):
        results = {split.videos.name(row): each for row, each in found.proposals.items()}
        write_results(folder / "results.json", results, split.classes)
        table = options.task.per_class(split, found.proposals)
        if table is not None:
            write_csv(folder / "per_class.csv", table)
