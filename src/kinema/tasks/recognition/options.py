"""Options of recognition: which actions a clip shows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Interval
from torch import Tensor

from kinema.data.kinds import LabelMode
from kinema.data.options import ClipData
from kinema.errors import UserError
from kinema.models import RecognizerOptions
from kinema.runtime.device import RuntimeOptions
from kinema.runtime.processes import Process
from kinema.tasks.recognition.multigrid import Multigrid
from kinema.training.config import M, TrainConfig
from kinema.training.task import EvaluationOptions, EvaluationOutputs, Task
from kinema.weights.model_files import Description

if TYPE_CHECKING:
    from kinema.report.page.content import Metric, Section, TestedRun
    from kinema.tasks.recognition.predictor import RecognizerPredictor


def metric_names(labels: LabelMode) -> tuple[str, ...]:
    """Return the metrics of a validation by which a model may be chosen, the usual one first."""
    return ("top1", "top5", "mean_class", "loss") if labels == "single" else ("mAP", "top1", "loss")


@dataclass(kw_only=True)
class Probe:
    """Training of the last layers alone, on features that the frozen network computes once (linear or attentive probe).

    The trained model is an ordinary one, with all layers.
    """

    clips: Annotated[int, Ge(0)] = 0
    """Random clips of each training video whose features are kept; epochs take turns with them. 0: no probe, the whole
    network is trained on clips."""
    fit: Literal["steps", "ridge"] = "steps"
    """steps: the last layers are trained by the optimizer. ridge: the head, if it is all there is, is computed in
    closed form, as ridge regression whose penalty is chosen on parts of the training videos held out in turn, which
    `data.fold_by` keeps apart like folds; optimizer and schedule have no effect."""
    cache: str = ""
    """Folder of the features, which runs with the same encoder, clips and files share; empty: `features` in Kinema's
    cache (`KINEMA_CACHE`)."""


@dataclass(kw_only=True)
class RecognitionOptions:
    """Labels, loss, mixing and averaging of views of a recognizer."""

    name: ClassVar[str] = "recognition"
    data_type: ClassVar[type] = ClipData
    FORMERLY: ClassVar = {"training.multigrid": "multigrid"}

    labels: LabelMode = "single"
    """A video shows one class (single: softmax and cross-entropy, top-1), or any number of them (multi: sigmoid and
    binary cross-entropy, mean average precision), and its list says so."""
    best_by: Literal["auto", "loss", "top1", "top5", "mean_class", "mAP"] = "auto"
    """Metric of the validation by which the best model is chosen: the lowest loss, or the highest of the others; auto:
    top1, of labels multi mAP."""
    loss: Literal["cross_entropy", "focal"] = "cross_entropy"
    """Training loss; focal: the cross-entropy of a class of probability p is weighted by (1 - p)^gamma, so that what is
    easy counts less (Lin et al., ICCV 2017). Of labels multi, both are binary."""
    focal_gamma: Annotated[float, Ge(1)] = 2.0
    """Gamma of the focal loss."""
    focal_alpha: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Alpha of the focal loss of labels multi (Lin et al., equation 5): what a video shows is weighted by alpha, what
    it does not show by 1 - alpha; 0: both by 1. `class_weights` has an alpha for each class, also of labels single."""
    class_weights: str = ""
    """Weights of the classes in the training loss. balanced: videos / (classes · videos of the class), of labels multi
    the ratio of videos without the class to those with it; or a file, CSV with columns class and weight or JSON
    {"class": weight}; empty: all 1. Of labels multi, only the loss of classes that a video shows is weighted."""
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the target that the loss takes from the true classes and spreads over all (Szegedy et al. 2016)."""
    mixup: Annotated[float, Ge(0)] = 0.0
    """Alpha of mixup, which overlays two clips and their labels (Zhang et al. 2018); 0.2–0.8 is usual, 0: none."""
    cutmix: Annotated[float, Ge(0)] = 0.0
    """Alpha of CutMix, which shows another clip in a box (Yun et al. 2019); 1 is usual, 0: none."""
    average: Literal["score", "prob", "max"] = "prob"
    """What a video's score is over its views: the mean of logits (score) or of probabilities (prob); or, where any
    number of classes may occur, the highest probability (max), as an action fills a part of the video only."""

    temperature: Annotated[float, Gt(0)] = 1.0
    """Divisor of logits in validation, tests and predictions, which calibrates probabilities (Guo et al., ICML 2017);
    `kinema calibrate` fits it and stores it with the model."""

    multigrid: Multigrid = field(default_factory=Multigrid)
    probe: Probe = field(default_factory=Probe)

    def __post_init__(self) -> None:
        if self.average == "max" and self.labels == "single":
            raise ValueError("average max, by which scores do not sum to 1, is for labels multi")
        if self.best_by not in ("auto", *metric_names(self.labels)):
            raise ValueError(
                f"best_by {self.best_by}: labels {self.labels} is measured by {', '.join(metric_names(self.labels))}"
            )
        if self.loss != "focal" and self.focal_gamma != RecognitionOptions.focal_gamma:
            raise ValueError(f"focal_gamma {self.focal_gamma:g} is for loss focal")
        if self.focal_alpha and (self.loss != "focal" or self.labels == "single"):
            raise ValueError(
                f"focal_alpha {self.focal_alpha:g} is for loss focal of labels multi; class_weights has a weight for "
                "each class"
            )
        if self.focal_alpha and self.class_weights:
            raise ValueError("focal_alpha is one weight for all classes, class_weights one for each: pass one of them")

    def open(self, config: "RecognitionConfig[Any]", process: Process) -> Task:
        """Open the videos of a training; see `open_recognition` and `open_probe`."""
        if self.probe.clips:
            from kinema.tasks.recognition.probe.task import open_probe

            return open_probe(config, process)
        from kinema.tasks.recognition.task import open_recognition

        return open_recognition(config, process)

    def input_shape(self, config: "RecognitionConfig[Any]") -> tuple[int, ...]:
        """Return C, T, H and W of a training clip."""
        _, frames, height, width = config.data.train_clip.shape
        return config.data.channels, frames, height, width

    def test_options(self, description: "RecognizerDescription") -> EvaluationOptions[Any, Any]:
        """Return the options of a test as the model was trained."""
        return EvaluationOptions(data=description.data, task=description.task, runtime=RuntimeOptions())

    def test(
        self,
        model: Path,
        description: "RecognizerDescription",
        options: EvaluationOptions["RecognitionOptions", ClipData],
        outputs: EvaluationOutputs,
    ) -> dict[str, float]:
        """Test a model; see `run_test`."""
        from kinema.tasks.recognition.testing import run_test

        return run_test(model, description, options, outputs)

    def calibrate(
        self,
        model: Path,
        description: "RecognizerDescription",
        options: EvaluationOptions["RecognitionOptions", ClipData],
    ) -> dict[str, float]:
        """Fit the temperature and store it with the model; see `run_calibration`."""
        from kinema.tasks.recognition.calibration import run_calibration

        return run_calibration(model, description, options)

    def load(self, model: Path, description: "RecognizerDescription", runtime: RuntimeOptions) -> "RecognizerPredictor":
        """Load a model for use."""
        from kinema.tasks.recognition.predictor import RecognizerPredictor

        return RecognizerPredictor(model, description, runtime)

    def main_metrics(self) -> "Sequence[Metric]":
        """See `kinema.report.page.content.HasReport`."""
        from kinema.tasks.recognition.reporting import main_metrics

        return main_metrics(self.labels, self.best_by)

    def report(self, tested: "TestedRun") -> "Sequence[Section]":
        """Return what a report says of data and test results."""
        from kinema.tasks.recognition.reporting import describe

        return describe(tested)

    def export_inputs(self, description: "RecognizerDescription") -> dict[str, Tensor]:
        """See `HasExport`."""
        from kinema.tasks.recognition.exporting import random_clips

        return {"clips": random_clips(description.data)}

    def export_metadata(self, description: "RecognizerDescription") -> dict[str, Any]:
        """See `HasExport`."""
        from kinema.tasks.recognition.exporting import preprocessing

        scores = {"labels": self.labels, "average": self.average, "temperature": self.temperature}
        return {"preprocessing": preprocessing(description.data), **scores}

    def export_script(self, file: Path, description: "RecognizerDescription") -> str:
        """See `HasExport`."""
        from kinema.tasks.recognition.standalone import script

        return script(file, description)

    def read_inputs(self, path: str, description: "RecognizerDescription") -> tuple[Tensor, ...]:
        """See `HasExport`."""
        from kinema.tasks.recognition.exporting import read_clips

        return (read_clips(path, description.data),)

    def export_scores(self, output: Tensor) -> Tensor:
        """Return the probabilities of each clip."""
        logits = output.float() / self.temperature
        return logits.softmax(-1) if self.labels == "single" else logits.sigmoid()

    def calibration_inputs(
        self, data: str, description: "RecognizerDescription", *, count: int
    ) -> Iterator[tuple[Tensor, ...]]:
        """See `HasQuantization`."""
        from kinema.tasks.recognition.exporting import calibration_clips

        return ((clips,) for clips in calibration_clips(data, description, count=count))

    def test_data(self, data: str, description: "RecognizerDescription") -> EvaluationOptions[Any, Any]:
        """See `HasQuantization`."""
        options = self.test_options(description)
        if data:
            options.data = replace(options.data, val=data, val_root="", root="", folds=0, val_fraction=0.0)
        elif not (options.data.val or options.data.divides):
            raise UserError("the model names no validation videos to measure the loss of accuracy on: pass --int8-test")
        return options


RecognitionConfig = TrainConfig[RecognitionOptions, M, ClipData]
RecognizerDescription = Description[RecognitionOptions, RecognizerOptions, ClipData]
