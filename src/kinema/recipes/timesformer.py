"""TimeSformer (Bertasius et al. 2021) as the configurations of its repository train it.

There the training starts from a ViT of ImageNet-21k, which Kinema lacks: start from a converted model (`--init`).
"""

from kinema.data.crops import MultiScaleCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models.timesformer import TimeSformerOptions
from kinema.recipes.parts import segments
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import SGD, StepSchedule, TrainConfig


def timesformer_b_8x32_kinetics400() -> RecognitionConfig[TimeSformerOptions]:
    """ViT-B on 8 frames of 224 px, every 32nd of a video file: 8 processes of a video."""
    return _trained(clip_len=8, frame_interval=32, size=224)


def timesformer_hr_16x16_kinetics400() -> RecognitionConfig[TimeSformerOptions]:
    """ViT-B on 16 frames of 448 px, every 16th of a video file: 8 processes of a video."""
    config = _trained(clip_len=16, frame_interval=16, size=448)
    config.data.train_clip.crop.box = MultiScaleCrop(scales=(1.0, 0.96, 0.92, 0.875), max_scale_gap=0, positions=13)
    return config


def timesformer_l_96x4_kinetics400() -> RecognitionConfig[TimeSformerOptions]:
    """ViT-B on 96 frames of 224 px, every 4th of a video file: 8 processes of a video."""
    return _trained(clip_len=96, frame_interval=4, size=224)


def timesformer_b_1x1x8_sthv2() -> RecognitionConfig[TimeSformerOptions]:
    """ViT-B on 8 segments of Something-Something V2, without flips: 8 processes of a video."""
    config = timesformer_b_8x32_kinetics400()
    config.model.num_classes = 174
    config.data.train_clip.crop.flip = 0
    for views in (config.data.train_clip, config.data.val_views, config.data.test_views):
        views.sampling = segments(8)
    return config


def _trained(*, clip_len: int, frame_interval: int, size: int) -> RecognitionConfig[TimeSformerOptions]:
    """15 epochs with a tenth of the rate after 11 and after 14; tested on one clip × 3 crops.

    The short side is jittered from 8/7 to 10/7 of the crop's side (256–320 px for 224): squares of 7/8 to 7/10 of it.
    """

    def clip() -> Sampling:
        return Sampling(clip_len=clip_len, frame_interval=frame_interval, spread=True)

    box = MultiScaleCrop(scales=(0.875, 0.82, 0.76, 0.7), max_scale_gap=0, positions=13)
    return TrainConfig(
        model=TimeSformerOptions(frames=clip_len, size=size, drop_path=0.1),
        task=RecognitionOptions(),
        data=ClipData(
            source="video",
            batch_size=1,
            train_clip=TrainClip(sampling=clip(), crop=TrainCrop(box=box, size=size)),
            val_views=Views(sampling=clip(), crops=ViewCrops(crops="center", short_side=size, size=size)),
            test_views=Views(sampling=clip(), crops=ViewCrops(crops="three", short_side=size, size=size)),
        ),
        optim=SGD(lr=0.005, lr_batch=8, weight_decay=1e-4),
        schedule=StepSchedule(epochs=15, milestones=(11, 14)),
    )
