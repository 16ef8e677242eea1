"""Options of recognition: which actions a clip shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from kinema.data.options import ClipData
from kinema.errors import UserError
from kinema.runtime.device import RuntimeOptions
from kinema.runtime.processes import Process
from kinema.tasks.recognition.settings import RecognitionConfig as RecognitionConfig
from kinema.tasks.recognition.settings import RecognitionSettings, RecognizerDescription
from kinema.training.task import EvaluationOptions, EvaluationOutputs, Task

if TYPE_CHECKING:
    from kinema.report.page.content import Metric, ReportedRun, Section
    from kinema.tasks.recognition.predictor import RecognizerPredictor


@dataclass(kw_only=True)
class RecognitionOptions(RecognitionSettings):
    """Labels, loss, mixing and averaging of views of a recognizer."""

    def open(self, config: RecognitionConfig[Any], process: Process) -> Task:
        """Open the videos of a training; see `open_recognition` and `open_probe`."""
        if self.probe.clips:
            from kinema.tasks.recognition.probe.task import open_probe

            return open_probe(config, process)
        from kinema.tasks.recognition.task import open_recognition

        return open_recognition(config, process)

    def test_options(self, description: RecognizerDescription) -> EvaluationOptions[Any, Any]:
        """Return the options of a test as the model was trained."""
        return EvaluationOptions(data=description.data, task=description.task, runtime=RuntimeOptions())

    def test(
        self,
        model: Path,
        description: RecognizerDescription,
        options: EvaluationOptions[RecognitionSettings, ClipData],
        outputs: EvaluationOutputs,
    ) -> dict[str, float]:
        """Test a model; see `run_test`."""
        from kinema.tasks.recognition.evaluation.testing import run_test

        return run_test(model, description, options, outputs)

    def calibrate(
        self,
        model: Path,
        description: RecognizerDescription,
        options: EvaluationOptions[RecognitionSettings, ClipData],
    ) -> dict[str, float]:
        """Fit the temperature and store it with the model; see `run_calibration`."""
        from kinema.tasks.recognition.evaluation.calibration import run_calibration

        return run_calibration(model, description, options)

    def load(self, model: Path, description: RecognizerDescription, runtime: RuntimeOptions) -> "RecognizerPredictor":
        """Load a model for use."""
        from kinema.tasks.recognition.predictor import RecognizerPredictor

        return RecognizerPredictor(model, description, runtime)

    def main_metrics(self) -> "Sequence[Metric]":
        """See `kinema.report.page.content.HasReport`."""
        from kinema.tasks.recognition.reporting import main_metrics

        return main_metrics(self.labels, self.best_by)

    def report(self, tested: "ReportedRun") -> "Sequence[Section]":
        """Return what a report says of data and test results."""
        from kinema.tasks.recognition.reporting import describe

        return describe(tested)

    def export_inputs(self, description: RecognizerDescription) -> dict[str, Tensor]:
        """See `HasExport`."""
        from kinema.tasks.recognition.export.clips import random_clips

        return {"clips": random_clips(description.data)}

    def export_metadata(self, description: RecognizerDescription) -> dict[str, Any]:
        """See `HasExport`."""
        from kinema.tasks.recognition.export.clips import preprocessing

        scores = {"labels": self.labels, "average": self.average, "temperature": self.temperature}
        return {"preprocessing": preprocessing(description.data), **scores}

    def export_script(self, file: Path, description: RecognizerDescription) -> str:
        """See `HasExport`."""
        from kinema.tasks.recognition.export.standalone import script

        return script(file, description)

    def read_inputs(self, path: str, description: RecognizerDescription) -> tuple[Tensor, ...]:
        """See `HasExport`."""
        from kinema.tasks.recognition.export.clips import read_clips

        return (read_clips(path, description.data),)

    def export_scores(self, output: Tensor) -> Tensor:
        """Return the probabilities of each clip."""
        logits = output.float() / self.temperature
        return logits.softmax(-1) if self.labels == "single" else logits.sigmoid()

    def calibration_inputs(
        self, data: str, description: RecognizerDescription, *, count: int
    ) -> Iterator[tuple[Tensor, ...]]:
        """See `HasQuantization`."""
        from kinema.tasks.recognition.export.clips import calibration_clips

        return ((clips,) for clips in calibration_clips(data, description, count=count))

    def test_data(self, data: str, description: RecognizerDescription) -> EvaluationOptions[Any, Any]:
        """See `HasQuantization`."""
        options = self.test_options(description)
        if data:
            options.data = replace(options.data, val=data, val_root="", root="", folds=0, val_fraction=0.0)
        elif not (options.data.val or options.data.divides):
            raise UserError("the model names no validation videos to measure the loss of accuracy on: pass --int8-test")
        return options
