"""The task of telling what happens in a clip: its loss, its metrics, its views."""

from kinema.recognition.task import RecognitionMetrics, RecognitionOptions, as_clips, training_loss, video_scores

__all__ = ["RecognitionMetrics", "RecognitionOptions", "as_clips", "training_loss", "video_scores"]
