"""Testing of a pre-trained network on other videos."""

from pathlib import Path

from PIL import Image

from kinema.data.dataset import open_val_index
from kinema.runtime.device import to_device
from kinema.runtime.processes import outage_shared, process_group
from kinema.storage import replacing
from kinema.storage.outputs import check_writable
from kinema.tasks.pretraining.data import PretrainingDescription, UnlabeledClips
from kinema.tasks.pretraining.evaluation import evaluate, view_batches
from kinema.tasks.pretraining.masking import MaskOptions
from kinema.tasks.results import writing_results
from kinema.training.task import EvaluationOptions, EvaluationOutputs
from kinema.weights.model_files import load_weights


def run_test(
    model: Path,
    description: PretrainingDescription,
    options: EvaluationOptions[MaskOptions, UnlabeledClips],
    outputs: EvaluationOutputs,
) -> dict[str, float]:
    """Measure the loss on `options.data.val`; write `metrics.json` and `reconstruction.png`.

    Raises:
        UserError: the model or the data are unusable, more videos are bad than `max_bad_fraction` allows, or the
            results cannot be written.
        StorageOutage: storage did not respond for `options.data.storage.patience` seconds.
    """
    check_writable(outputs.folder / "metrics.json", outputs.dump)
    with process_group(options.runtime, wait=options.data.patience) as process:
        module = description.model.build()
        load_weights(module, model)
        with outage_shared():
            index = open_val_index(options.data, None, labels="none")
            batches = view_batches(index, options.data, process)
        module = to_device(module, process.device, options.runtime)
        masking = options.task.masking(module.grid)
        validation = evaluate(module, batches, masking, options.task, runtime=options.runtime, process=process)

        def write() -> None:
            folder = outputs.folder
            with writing_results(folder, validation.metrics, validation.bad, data=options.data, num_videos=len(index)):
                for name, picture in validation.pictures.items():
                    with replacing(folder / f"{name}.png") as path:
                        Image.fromarray(picture.numpy()).save(path, "png")

        process.run_on_main(write)
    return validation.metrics
