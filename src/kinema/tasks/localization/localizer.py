"""Base class of the tasks of localizers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from kinema import strict_json
from kinema.errors import UserError
from kinema.runtime.device import RuntimeOptions
from kinema.runtime.processes import Process
from kinema.tasks.localization.data.features import SAMPLE_SECONDS
from kinema.tasks.localization.exporting import as_tensors, export_metadata, export_script, read_features
from kinema.tasks.localization.options import LocalizationConfig, LocalizerDescription, LocalizerOptions
from kinema.tasks.localization.task import open_localization
from kinema.tasks.localization.testing import run_localizer_test
from kinema.training.task import EvaluationOptions, EvaluationOutputs, Predictor, Task

if TYPE_CHECKING:
    from kinema.report.page.content import Metric, ReportedRun, Section

_TRUTH = "ground_truth.json"


@dataclass(kw_only=True)
class LocalizerTaskOptions(LocalizerOptions):
    """Options of a localizer as a task, see `kinema.training.task.TaskOptions`: a dataclass that inherits from this."""

    def open(self, config: LocalizationConfig[Any], process: Process) -> Task:
        """Open the videos of a training; see `open_localization`."""
        return open_localization(config, process)

    def input_shape(self, config: LocalizationConfig[Any]) -> tuple[int, ...]:
        """Return the shape of a video's features, (C, T), or of a candidate's, (C,)."""
        return config.data.input_shape(config.model.feature_channels)

    def test_options(self, description: LocalizerDescription) -> EvaluationOptions[Any, Any]:
        """Return the options of a test as the model was trained."""
        data = replace(description.data, ground_truth=description.data.val_file, val_ground_truth="")
        return EvaluationOptions(data=data, task=description.task, runtime=RuntimeOptions())

    def test(
        self,
        model: Path,
        description: LocalizerDescription,
        options: EvaluationOptions[Any, Any],
        outputs: EvaluationOutputs,
    ) -> dict[str, float]:
        """Test a model; see `run_localizer_test`."""
        return run_localizer_test(model, description, options, outputs)

    def main_metrics(self) -> "Sequence[Metric]":
        """See `kinema.report.page.content.HasReport`."""
        from kinema.tasks.localization.reporting import main_metrics

        return main_metrics(("AUC", "AR@100"), self.best_by)

    def report(self, tested: "ReportedRun") -> "Sequence[Section]":
        """Return what a report says of data and test results."""
        from kinema.tasks.localization.reporting import describe

        return describe(tested)

    def write_sample(self, folder: Path, config: LocalizationConfig[Any], *, videos: int) -> None:
        """Write ground truth of videos with two random instances each (ActivityNet has 1.5), and random inputs."""
        random, inputs = np.random.default_rng(0), folder / config.data.INPUTS
        inputs.mkdir(parents=True, exist_ok=True)
        database = {}
        for name in (f"v_{number:05}" for number in range(videos)):
            segments = np.sort(random.uniform(0, SAMPLE_SECONDS, (2, 2)), axis=1).tolist()
            annotations = [{"label": "action", "segment": segment} for segment in segments]
            subset = config.data.train_subset
            database[name] = {"duration": SAMPLE_SECONDS, "subset": subset, "annotations": annotations}
            config.data.write_random(inputs, name, config.model.feature_channels, random)
        (folder / _TRUTH).write_text(strict_json.dumps({"database": database}))

    def sample_options(self, folder: Path, config: LocalizationConfig[Any]) -> dict[str, object]:
        """Return the options that select what `write_sample` has written."""
        inputs = config.data.INPUTS
        truth = {"data.ground_truth": str(folder / _TRUTH), "data.val_subset": ""}
        return {**truth, f"data.{inputs}": str(folder / inputs)}

    def export_inputs(self, description: LocalizerDescription) -> dict[str, Tensor]:
        """See `HasExport`."""
        shape = description.data.input_shape(description.model.feature_channels)
        return {"features": torch.randn(2, *shape)}

    def export_metadata(self, description: LocalizerDescription) -> dict[str, Any]:
        """See `HasExport`."""
        return export_metadata(description)

    def export_script(self, file: Path, description: LocalizerDescription) -> str:
        """See `HasExport`."""
        return export_script(file, self.export_inputs(description))

    def read_inputs(self, path: str, description: LocalizerDescription) -> tuple[Tensor, ...]:
        """Return the features of an .npy file, (T, C), brought to the length that the network takes."""
        return (read_features(path, description)[None],)

    def export_scores(self, output: Any) -> Tensor:
        """Return all probabilities of each video, (N, K)."""
        return torch.cat([tensor.float().reshape(len(tensor), -1) for tensor in as_tensors(output)], dim=1)

    def load(self, model: Path, description: LocalizerDescription, runtime: RuntimeOptions) -> Predictor:  # noqa: ARG002
        """Refuse: single videos are localized by `kinema localize`.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{model} is a model of the recipe {description.recipe}, which localizes segments of long videos: "
            "pass it to kinema localize"
        )
