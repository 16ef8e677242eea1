"""The task of telling what happens in a clip: its loss, its metrics, its views."""

from kinema.tasks.recognition.metrics import RecognitionMetrics, main_metric, recognition_metrics
from kinema.tasks.recognition.multi_label import multi_hot
from kinema.tasks.recognition.options import RecognitionOptions
from kinema.tasks.recognition.scoring import as_clips, training_loss, video_scores
from kinema.tasks.recognition.splits import (
    check_told_apart,
    label_advice,
    warn_of_labels,
    warn_of_overlap,
    warn_of_unlabelled,
    with_flip_pairs,
)

__all__ = [
    "RecognitionMetrics",
    "RecognitionOptions",
    "as_clips",
    "check_told_apart",
    "label_advice",
    "main_metric",
    "multi_hot",
    "recognition_metrics",
    "training_loss",
    "video_scores",
    "warn_of_labels",
    "warn_of_overlap",
    "warn_of_unlabelled",
    "with_flip_pairs",
]
