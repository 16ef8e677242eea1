"""Options of pre-training."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kinema.errors import UserError
from kinema.runtime.device import RuntimeOptions
from kinema.runtime.processes import Process
from kinema.tasks.pretraining.data import PretrainingConfig, PretrainingDescription, UnlabeledClips
from kinema.tasks.pretraining.masking import MaskOptions
from kinema.training.task import EvaluationOptions, EvaluationOutputs, Predictor, Task

if TYPE_CHECKING:
    from kinema.report.page.content import Metric, ReportedRun, Section


@dataclass(kw_only=True)
class PretrainingOptions(MaskOptions):
    """Pre-training as a task; see `kinema.training.task.TaskOptions`."""

    name: ClassVar[str] = "pretraining"
    data_type: ClassVar[type] = UnlabeledClips

    def open(self, config: PretrainingConfig, process: Process) -> Task:
        """Open the videos of a training; see `open_pretraining`."""
        from kinema.tasks.pretraining.task import open_pretraining

        return open_pretraining(config, process)

    def input_shape(self, config: PretrainingConfig) -> tuple[int, ...]:
        """Return C, T, H and W of a training clip."""
        _, frames, height, width = config.data.train_clip.shape
        return config.data.channels, frames, height, width

    def test_options(self, description: PretrainingDescription) -> EvaluationOptions[Any, Any]:
        """Return the options of a test as the model was trained."""
        return EvaluationOptions(data=description.data, task=description.task, runtime=RuntimeOptions())

    def test(
        self,
        model: Path,
        description: PretrainingDescription,
        options: EvaluationOptions[MaskOptions, UnlabeledClips],
        outputs: EvaluationOutputs,
    ) -> dict[str, float]:
        """Measure the loss on the validation videos; see `run_test`."""
        from kinema.tasks.pretraining.testing import run_test

        return run_test(model, description, options, outputs)

    def main_metrics(self) -> "Sequence[Metric]":
        """See `kinema.report.page.content.HasReport`."""
        from kinema.tasks.pretraining.reporting import MAIN_METRICS

        return MAIN_METRICS

    def report(self, tested: "ReportedRun") -> "Sequence[Section]":
        """Return what a report says of data, reconstructions and test results."""
        from kinema.tasks.pretraining.reporting import describe

        return describe(tested)

    def load(self, model: Path, description: PretrainingDescription, runtime: RuntimeOptions) -> Predictor:
        """Refuse: a pre-trained network does not answer.

        Raises:
            UserError: always.
        """
        del runtime
        raise UserError(
            f"{model} is a pre-trained model (recipe {description.recipe}), which knows no classes: fine-tune it with "
            f"kinema train RECIPE --init {model}, a recipe of VideoMAE"
        )
