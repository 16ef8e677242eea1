"""S3D (Xie et al. 2018) from scratch, as torchvision trained it; see `torchvision_models` for its epochs and frames.

torchvision resizes frames to squares of 256 px and crops 224 px of them; here they keep their aspect ratio.
"""

from kinema.data.crops import MultiScaleCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models.s3d import S3DOptions
from kinema.recipes.parts import sampled, small
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import SGD, StepSchedule, TrainConfig, TrainingOptions


def s3d_64x2_kinetics400() -> RecognitionConfig[S3DOptions]:
    """S3D on 64 frames of 224 px, every second of a video file, tested on 128: 64 processes of 12 videos."""
    return TrainConfig(
        model=S3DOptions(),
        task=RecognitionOptions(),
        data=ClipData(
            source="video",
            batch_size=12,
            train_clip=TrainClip(
                sampling=Sampling(clip_len=64, frame_interval=2),
                crop=TrainCrop(box=MultiScaleCrop(scales=(0.875,), max_scale_gap=0, positions=13), size=224),
            ),
            val_views=Views(sampling=Sampling(clip_len=64, frame_interval=2), crops=ViewCrops(crops="center")),
            test_views=Views(sampling=Sampling(clip_len=128, frame_interval=2), crops=ViewCrops(crops="center")),
        ),
        optim=SGD(lr=0.2, lr_batch=768),
        schedule=StepSchedule(epochs=225, milestones=(100, 150, 200), warmup_epochs=50, warmup_start=0.01),
        training=TrainingOptions(sync_bn=True),
    )


def s3d_16x2_small() -> RecognitionConfig[S3DOptions]:
    """S3D from scratch on 16 small pictures: hundreds of own videos."""
    config = small(sampled(s3d_64x2_kinetics400(), clip_len=16, frame_interval=2))
    config.data.test_views.sampling.num_clips = 3
    config.training = TrainingOptions()
    return config
