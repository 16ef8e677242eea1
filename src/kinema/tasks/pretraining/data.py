"""Data of pre-training: videos without labels."""

from dataclasses import dataclass
from typing import ClassVar

from kinema.data.options import DataOptions
from kinema.data.views import TrainClip, Views
from kinema.models.videomae_pretraining import VideoMAEPretrainingOptions
from kinema.tasks.pretraining.masking import MaskOptions
from kinema.training.config import TrainConfig
from kinema.weights.model_files import Description


@dataclass(kw_only=True)
class UnlabeledClips(DataOptions):
    """Videos, and the clips that are reconstructed. Labels in lists are not read, folders are searched at any depth."""

    train_clip: TrainClip
    """Random clip of a training video; `repeats` clips of it are decoded once."""
    val_views: Views
    """Views of a validation video."""

    channels: ClassVar[int] = 3


PretrainingConfig = TrainConfig[MaskOptions, VideoMAEPretrainingOptions, UnlabeledClips]
PretrainingDescription = Description[MaskOptions, VideoMAEPretrainingOptions, UnlabeledClips]
