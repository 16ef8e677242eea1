"""Settings of recognition, by which this folder works; `options` adds what one can do with them."""

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Interval

from kinema.data.kinds import LabelMode
from kinema.data.options import ClipData
from kinema.models import RecognizerOptions
from kinema.tasks.recognition.multigrid import Multigrid
from kinema.training.config import M, TrainConfig
from kinema.weights.model_files import Description


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
class RecognitionSettings:
    """Labels, loss, mixing and averaging of views of a recognizer, which the rest of this folder reads."""

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
        if self.loss != "focal" and self.focal_gamma != RecognitionSettings.focal_gamma:
            raise ValueError(f"focal_gamma {self.focal_gamma:g} is for loss focal")
        if self.focal_alpha and (self.loss != "focal" or self.labels == "single"):
            raise ValueError(
                f"focal_alpha {self.focal_alpha:g} is for loss focal of labels multi; class_weights has a weight for "
                "each class"
            )
        if self.focal_alpha and self.class_weights:
            raise ValueError("focal_alpha is one weight for all classes, class_weights one for each: pass one of them")

    def input_shape(self, config: "RecognitionConfig[Any]") -> tuple[int, ...]:
        """Return C, T, H and W of a training clip."""
        _, frames, height, width = config.data.train_clip.shape
        return config.data.channels, frames, height, width


RecognitionConfig = TrainConfig[RecognitionSettings, M, ClipData]
RecognizerDescription = Description[RecognitionSettings, RecognizerOptions, ClipData]
