"""Options of localization: losses of BMN, TEM and PEM, and how their outputs become proposals."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from annotated_types import Gt

from kinema.errors import UserError
from kinema.models import LocalizerOptions as LocalizerNetwork
from kinema.runtime.device import RuntimeOptions
from kinema.runtime.processes import Process
from kinema.tasks.localization.data import FeatureData, ProposalData, val_file
from kinema.tasks.localization.generation.pgm import CandidateOptions, GenerationOptions
from kinema.tasks.localization.generation.soft_nms import SoftNmsOptions
from kinema.tasks.localization.losses import BMNLossOptions, PEMLossOptions, TEMLossOptions
from kinema.training.config import T, TrainConfig
from kinema.training.task import EvaluationOptions, EvaluationOutputs, Predictor, Task
from kinema.weights.model_files import Description


class LocalizerOptions:
    """Methods of the tasks' options; see `kinema.training.task.TaskOptions`."""

    FORMERLY: ClassVar[dict[str, str]] = {"training.multigrid": ""}

    def open(self, config: "LocalizationConfig[Any]", process: Process) -> Task:
        """Open the videos of a training; see `open_localization`."""
        from kinema.tasks.localization.task import open_localization

        return open_localization(config, process)

    def input_shape(self, config: "LocalizationConfig[Any]") -> tuple[int, ...]:
        """Return the shape of a video's features, (C, T), or of a candidate's, (C,)."""
        return config.data.input_shape(config.model.feature_channels)

    def test_options(self, description: "LocalizerDescription") -> EvaluationOptions[Any, Any]:
        """Return the options of a test as the model was trained."""
        data = replace(description.data, ground_truth=val_file(description.data), val_ground_truth="")
        return EvaluationOptions(data=data, task=description.task, runtime=RuntimeOptions())

    def test(
        self,
        model: Path,
        description: "LocalizerDescription",
        options: EvaluationOptions[Any, Any],
        outputs: EvaluationOutputs,
    ) -> dict[str, float]:
        """Test a model; see `run_localizer_test`."""
        from kinema.tasks.localization.testing import run_localizer_test

        return run_localizer_test(model, description, options, outputs)

    def load(self, model: Path, description: "LocalizerDescription", runtime: RuntimeOptions) -> Predictor:  # noqa: ARG002
        """Refuse: single videos are localized by `kinema localize`.

        Raises:
            UserError: always.
        """
        raise UserError(
            f"{model} is a model of the recipe {description.recipe}, which finds when something happens, not what: "
            "pass it to kinema localize"
        )


@dataclass(kw_only=True)
class BMNTask(LocalizerOptions):
    """Loss of a BMN, and suppression of its proposals."""

    name: ClassVar[str] = "bmn"
    data_type: ClassVar[type] = FeatureData
    grid_offset: ClassVar[float] = 0.0
    """Start of a part of the video, where segments start and end, as a fraction of it."""

    loss: BMNLossOptions = field(default_factory=BMNLossOptions)
    nms: SoftNmsOptions = field(default_factory=SoftNmsOptions)


@dataclass(kw_only=True)
class TEMTask(LocalizerOptions):
    """Loss of a TEM. Its validation takes every pair of a possible start and end as a proposal."""

    name: ClassVar[str] = "tem"
    data_type: ClassVar[type] = FeatureData
    grid_offset: ClassVar[float] = 0.5

    boundary_ratio: Annotated[float, Gt(0)] = 0.1
    """Length of an instance's start and end in the labels, over the instance's own."""
    loss: TEMLossOptions = field(default_factory=TEMLossOptions)
    generation: GenerationOptions = field(default_factory=GenerationOptions)
    nms: SoftNmsOptions = field(default_factory=lambda: SoftNmsOptions(alpha=0.75, low_threshold=0.65))


@dataclass(kw_only=True)
class PEMTask(LocalizerOptions):
    """Loss of a PEM, and suppression of the proposals that it evaluates."""

    name: ClassVar[str] = "pem"
    data_type: ClassVar[type] = ProposalData
    grid_offset: ClassVar[float] = 0.5

    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    """How the candidates were made that it is trained on, and are of a video that it is asked about."""
    loss: PEMLossOptions = field(default_factory=PEMLossOptions)
    nms: SoftNmsOptions = field(default_factory=lambda: SoftNmsOptions(alpha=0.75, low_threshold=0.65))


LocalizationTask = BMNTask | TEMTask | PEMTask

LocalizationConfig = TrainConfig[T, Any, Any]
LocalizerDescription = Description[LocalizationTask, LocalizerNetwork, FeatureData | ProposalData]
