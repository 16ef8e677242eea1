"""Everything that a training run is made from. Recipes return it; dotted keys change it; `config.yaml` keeps it."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Interval

from kinema.data.dataset import DataOptions
from kinema.data.views import TrainClip, Views
from kinema.models import LocalizerOptions, RecognizerOptions
from kinema.runtime.device import RuntimeOptions
from kinema.tasks.localization.data import FeatureData, ProposalData
from kinema.tasks.localization.generation.pgm import CandidateOptions
from kinema.tasks.localization.options import LocalizationTask
from kinema.tasks.recognition import RecognitionOptions
from kinema.training.multigrid import Multigrid
from kinema.training.optim import SGD, Adam, AdamW
from kinema.training.schedule import CosineSchedule, StepSchedule
from kinema.weights.model_files import LocalizerDescription, ModelDescription


@dataclass(kw_only=True)
class TrainingOptions:
    """How the loop runs."""

    seed: Annotated[int, Ge(0)] = 0
    """Decides every random choice: weights, order, crops, dropout."""
    init: str = ""
    """A trained model whose weights to start from, instead of the recipe's: a run folder or a checkpoint."""
    accumulate: Annotated[int, Ge(1)] = 1
    """Batches whose gradients make one step."""
    ema_decay: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Decay, per step, of the moving average of weights that is validated and saved; 0: the weights themselves."""
    precise_bn: Annotated[int, Ge(0)] = 0
    """Training batches used to recompute batch-norm statistics before each validation (Wu & Johnson 2021,
    section 3), 200 is usual; 0: their moving averages as they are."""
    sync_bn: bool = False
    """Batch-norm statistics over all GPUs."""
    fully_shard: bool = False
    """Divide weights, gradients and the optimizer's state over the processes (FSDP) instead of keeping all in each:
    less memory, more communication. Checkpoints are the same; with one process nothing is divided."""
    log_every: Annotated[int, Ge(1)] = 20
    """Steps between two lines of metrics.jsonl."""
    val_every: Annotated[int, Ge(1)] = 1
    """Epochs between two validations; the last epoch is always validated."""
    checkpoint_every: Annotated[int, Ge(0)] = 0
    """Steps between two checkpoints, beside the one after each epoch; 0: only that."""
    multigrid: Multigrid = field(default_factory=Multigrid)


@dataclass(kw_only=True)
class Config:
    """A complete training run of a recognizer."""

    recipe: str = field(default="", init=False)
    """Name of the recipe that it came from; not an option."""
    model: RecognizerOptions
    task: RecognitionOptions = field(default_factory=RecognitionOptions)
    data: DataOptions = field(default_factory=DataOptions)
    train_clip: TrainClip
    val_views: Views
    test_views: Views
    optim: SGD | AdamW
    schedule: StepSchedule | CosineSchedule
    training: TrainingOptions = field(default_factory=TrainingOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)

    def describe(self, classes: tuple[str, ...]) -> ModelDescription:
        """What a user of the trained model needs to know of this run."""
        return ModelDescription(
            recipe=self.recipe,
            model=self.model,
            classes=classes,
            task=self.task,
            data=self.data,
            val_views=self.val_views,
            test_views=self.test_views,
        )


@dataclass(kw_only=True)
class LocalizationConfig:
    """A complete training run of a network that finds when something happens."""

    recipe: str = field(default="", init=False)
    """Name of the recipe that it came from; not an option."""
    model: LocalizerOptions
    task: LocalizationTask
    data: FeatureData | ProposalData
    optim: Adam | SGD | AdamW
    schedule: StepSchedule | CosineSchedule
    training: TrainingOptions = field(default_factory=TrainingOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)

    def describe(self) -> LocalizerDescription:
        """What a user of the trained model needs to know of this run."""
        return LocalizerDescription(recipe=self.recipe, model=self.model, task=self.task, data=self.data)


AnyConfig = Config | LocalizationConfig
"""What the loop trains."""


@dataclass(kw_only=True)
class PGMConfig:
    """BSN's proposal generation: nothing is trained, but candidates are written for PEM to be trained on."""

    recipe: str = field(default="", init=False)
    """Name of the recipe that it came from; not an option."""
    tem: str = ""
    """A trained TEM: a run folder, or a checkpoint. Its features and its ground truth are taken."""
    candidates: CandidateOptions = field(default_factory=CandidateOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)


@dataclass(kw_only=True)
class Stage:
    """One of BSN's networks in training."""

    model: LocalizerOptions
    task: LocalizationTask
    optim: Adam | SGD | AdamW
    schedule: StepSchedule | CosineSchedule
    training: TrainingOptions = field(default_factory=TrainingOptions)


@dataclass(kw_only=True)
class BSNConfig:
    """The three stages of BSN one after the other: TEM, proposal generation, PEM."""

    recipe: str = field(default="", init=False)
    """Name of the recipe that it came from; not an option."""
    data: FeatureData
    tem: Stage
    pem: Stage
    train_candidates: Annotated[int, Ge(1)] = 500
    """Candidates of a video that PEM is trained on, the most probable ones."""
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)


RecipeConfig = Config | LocalizationConfig | PGMConfig | BSNConfig
"""What a recipe returns."""
