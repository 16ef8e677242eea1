"""Testing a trained localizer on the videos of a ground truth."""

from dataclasses import dataclass, replace
from pathlib import Path

from kinema import strict_json
from kinema.data.bad_files import BadFiles
from kinema.data.loader import num_workers
from kinema.runtime.device import RuntimeOptions, place
from kinema.runtime.processes import joined, outage_shared
from kinema.storage import write_text
from kinema.storage.outputs import cannot_write, check_writable
from kinema.tasks.localization.data import FeatureData, ProposalData, open_source, val_file
from kinema.tasks.localization.evaluation import (
    ProposalEvaluation,
    candidate_batches,
    evaluate_localizer,
    feature_batches,
)
from kinema.tasks.localization.generation.labelling import write_results
from kinema.tasks.localization.options import LocalizationTask, grid_offset
from kinema.tasks.localization.videos import Videos, read_truth, say_what_is_too_short, with_features
from kinema.weights.model_files import find_model, load_localizer, read_localizer_description
from kinema.weights.own_paths import write_tested_on


@dataclass(kw_only=True)
class LocalizerTestOptions:
    """What can be changed when a localizer is tested; by default all is as its recipe says."""

    data: FeatureData | ProposalData
    task: LocalizationTask
    runtime: RuntimeOptions


def localizer_test_options(model: Path) -> LocalizerTestOptions:
    """The options that a localizer was saved with, to be changed and given to `run_localizer_test`.

    Raises:
        UserError: there is no localizer, or its files are damaged.
    """
    described = read_localizer_description(find_model(model))
    data = replace(described.data, ground_truth=val_file(described.data), val_ground_truth="")
    return LocalizerTestOptions(data=data, task=described.task, runtime=RuntimeOptions())


def run_localizer_test(model: Path, options: LocalizerTestOptions, *, folder: Path) -> dict[str, float]:
    """Test a localizer's proposals on the videos of `options.data.val_subset`, all of whose instances count.

    Processes that torchrun started divide the videos; the first of them writes the results.

    Args:
        model: a run folder, a checkpoint folder or a `model.safetensors`.
        options: where the videos' features are and how proposals are chosen.
        folder: receives `metrics.json`, `data.json` (which videos were tested), the proposals in ActivityNet's layout
            as `results.json`, and, if there are any, `bad_files.csv`.

    Returns:
        `AR@1`, `AR@5`, `AR@10`, `AR@100`, `AUC` (fractions), `videos`, `bad_files` (counts).

    Raises:
        UserError: the model or the data are faulty, more videos are bad than `max_bad_fraction` allows, or the results
            cannot be written.
        StorageOutage: the storage did not answer for `options.data.storage.patience` seconds.
    """
    check_writable(folder / "metrics.json")
    data = options.data
    with joined(options.runtime, wait=_patience(data)) as process:
        module, described = load_localizer(model)
        with outage_shared():
            truth = read_truth(data.ground_truth, data.val_subset, own_file=True)
            workers, rank, world = num_workers(data.workers, process.local_world), process.rank, process.world
            if isinstance(data, FeatureData):
                source = open_source(data, channels=described.model.feature_channels)
                videos = with_features(data.ground_truth, truth, source)
                say_what_is_too_short(videos, data.parts, offset=grid_offset(options.task), what="test videos")
                batches = feature_batches(videos, source, data, workers=workers, rank=rank, world=world)
            else:
                videos = Videos(truth=truth)
                batches = candidate_batches(videos, data, workers=workers, rank=rank, world=world)
        found = evaluate_localizer(
            place(module, process.device, options.runtime),
            batches,
            videos=videos,
            task=options.task,
            data=data,
            runtime=options.runtime,
            device=process.device,
            show=process.is_main,
        )
        process.first_does(lambda: _write(found, videos, data, folder))
    return found.metrics


def _write(found: ProposalEvaluation, videos: Videos, data: FeatureData | ProposalData, folder: Path) -> None:
    """Leave the results behind, unless too many videos are bad."""
    listing = folder / "bad_files.csv"
    listing.unlink(missing_ok=True)
    bad_files = BadFiles(num_videos=len(videos), max_fraction=data.max_bad_fraction, listing=listing)
    bad_files.add(found.bad)
    bad_files.check()
    try:
        write_tested_on(folder, data)
        write_text(folder / "metrics.json", strict_json.dumps(found.metrics, indent=2) + "\n")
        write_results(folder / "results.json", {videos.name(row): each for row, each in found.proposals.items()})
    except OSError as error:
        raise cannot_write(error, folder) from error


def _patience(data: FeatureData | ProposalData) -> float:
    return data.storage.patience if isinstance(data, FeatureData) else 0.0
