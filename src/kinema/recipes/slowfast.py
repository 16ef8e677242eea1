"""SlowFast and its slow pathway alone (Feichtenhofer et al. 2019), from scratch."""

from kinema.data.crops import RandomResizedCrop, ViewCrops
from kinema.models.slowfast import SlowFastOptions
from kinema.models.slowonly import SlowOnlyOptions
from kinema.recipes.parts import STHV1_MIRRORED, clips_of_videos, on_rawframes, on_videos, sampled, small, with_model
from kinema.tasks.recognition.multigrid import Multigrid
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import SGD, CosineSchedule, StepSchedule, TrainConfig
from kinema.training.config import M


def slowonly_r50_video_4x16x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """The slow pathway on 4 frames, every 16th of a video file: 8 processes of 8 videos."""
    return _from_scratch(SlowOnlyOptions(), clip_len=4, frame_interval=16, warmup_epochs=0)


def slowonly_r50_4x16x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """The same on rawframes."""
    return on_rawframes(slowonly_r50_video_4x16x1_256e_kinetics400_rgb())


def slowonly_r50_video_8x8x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """The slow pathway on 8 frames, every 8th."""
    return sampled(slowonly_r50_video_4x16x1_256e_kinetics400_rgb(), clip_len=8, frame_interval=8)


def slowonly_r50_8x8x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """The same on rawframes."""
    return on_rawframes(slowonly_r50_video_8x8x1_256e_kinetics400_rgb())


def slowonly_r18_video_4x16x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """ResNet-18 on 4 frames, every 16th."""
    return with_model(slowonly_r50_video_4x16x1_256e_kinetics400_rgb(), SlowOnlyOptions(depth=18))


def slowonly_r101_video_8x8x1_196e_kinetics400_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """ResNet-101 on 8 frames, every 8th, for 196 epochs."""
    config = slowonly_r50_video_8x8x1_256e_kinetics400_rgb()
    config.model = SlowOnlyOptions(depth=101)
    config.schedule = CosineSchedule(epochs=196, warmup_epochs=34)
    return config


def slowonly_r101_8x8x1_196e_kinetics400_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """The same on rawframes."""
    return on_rawframes(slowonly_r101_video_8x8x1_196e_kinetics400_rgb())


def slowonly_r50_8x4x1_40e_ucf101_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """Fine-tunes a model of Kinetics-400 (`--init`) on 8 frames, every 4th, of rawframes of UCF101."""
    config = sampled(slowonly_r50_8x8x1_256e_kinetics400_rgb(), clip_len=8, frame_interval=4)
    config.model.num_classes = 101
    config.optim = SGD(lr=0.001, lr_batch=64, clip_norm=20)
    config.schedule = StepSchedule(epochs=40, milestones=(15, 30))
    return config


def slowonly_r50_video_8x4x1_40e_ucf101_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """The same on video files."""
    return on_videos(slowonly_r50_8x4x1_40e_ucf101_rgb())


def slowonly_r50_8x4x1_40e_hmdb51_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """The same on rawframes of HMDB51."""
    config = slowonly_r50_8x4x1_40e_ucf101_rgb()
    config.model.num_classes = 51
    return config


def slowonly_r50_video_8x4x1_40e_hmdb51_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """The same on video files."""
    return on_videos(slowonly_r50_8x4x1_40e_hmdb51_rgb())


def slowonly_r18_video_8x4x1_small_rgb() -> RecognitionConfig[SlowOnlyOptions]:
    """A narrow ResNet-18 from scratch on small pictures: hundreds of own videos, minutes on a few CPU cores."""
    config = small(sampled(slowonly_r50_video_8x8x1_256e_kinetics400_rgb(), clip_len=8, frame_interval=4))
    return with_model(config, SlowOnlyOptions(depth=18, width=32, dropout=0.3))


def slowfast_r50_video_4x16x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowFastOptions]:
    """32 frames, every second of a video file, for the fast pathway; every 8th of those, 4, for the slow one."""
    return _from_scratch(SlowFastOptions(), clip_len=32, frame_interval=2, warmup_epochs=34)


def slowfast_r50_4x16x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowFastOptions]:
    """The same on rawframes."""
    return on_rawframes(slowfast_r50_video_4x16x1_256e_kinetics400_rgb())


def slowfast_r50_video_8x8x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowFastOptions]:
    """8 frames for the slow pathway, every 4th of the fast one's 32."""
    return with_model(slowfast_r50_video_4x16x1_256e_kinetics400_rgb(), SlowFastOptions(alpha=4, fusion_kernel=7))


def slowfast_prebn_r50_8x8x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowFastOptions]:
    """8 frames for the slow pathway, on rawframes; validated with batch-norm statistics of 200 batches."""
    config = slowfast_r50_8x8x1_256e_kinetics400_rgb()
    config.training.precise_bn = 200
    return config


def slowfast_multigrid_r50_8x8x1_358e_kinetics400_rgb() -> RecognitionConfig[SlowFastOptions]:
    """The same on batches of smaller clips at first: 1.5 times 239 epochs, in a third of the steps."""
    config = slowfast_prebn_r50_8x8x1_256e_kinetics400_rgb()
    config.model.lateral_norm = True
    config.schedule = StepSchedule(epochs=239, milestones=(94, 154, 196), warmup_epochs=34)
    config.task.multigrid = Multigrid(long_cycle=True, short_cycle=True)
    return config


def slowfast_r101_video_8x8x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowFastOptions]:
    """The same with ResNet-101."""
    config = slowfast_r50_video_8x8x1_256e_kinetics400_rgb()
    return with_model(config, SlowFastOptions(depth=101, alpha=4, fusion_kernel=7))


def slowfast_r101_8x8x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowFastOptions]:
    """The same on rawframes."""
    return on_rawframes(slowfast_r101_video_8x8x1_256e_kinetics400_rgb())


def slowfast_r50_8x8x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowFastOptions]:
    """8 frames for the slow pathway, on rawframes."""
    return on_rawframes(slowfast_r50_video_8x8x1_256e_kinetics400_rgb())


def slowfast_r18_video_4x16x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowFastOptions]:
    """4 frames for the slow pathway, with ResNet-18."""
    return with_model(slowfast_r50_video_4x16x1_256e_kinetics400_rgb(), SlowFastOptions(depth=18))


def slowfast_r101_video_4x16x1_256e_kinetics400_rgb() -> RecognitionConfig[SlowFastOptions]:
    """4 frames for the slow pathway, with ResNet-101."""
    return with_model(slowfast_r50_video_4x16x1_256e_kinetics400_rgb(), SlowFastOptions(depth=101))


def slowfast_r50_16x8x1_22e_sthv1_rgb() -> RecognitionConfig[SlowFastOptions]:
    """Fine-tunes an 8x8 model of Kinetics-400 (`--init`) on 64 frames of rawframes of Something-Something V1."""
    config = sampled(slowfast_r50_8x8x1_256e_kinetics400_rgb(), clip_len=64, frame_interval=2)
    config.model.num_classes = 174
    config.data.batch_size = 4
    config.data.train_clip.crop.flip_pairs = STHV1_MIRRORED
    config.data.test_views.sampling.num_clips = 1
    config.data.test_views.crops = ViewCrops(short_side=256, size=256)
    config.optim = SGD(lr=0.06, lr_batch=32, weight_decay=1e-6, clip_norm=40)
    config.schedule = StepSchedule(epochs=22, milestones=(14, 18), warmup_epochs=0.2)
    return config


def slowfast_r50_16x8x1_57e_charades_rgb() -> RecognitionConfig[SlowFastOptions]:
    """Fine-tunes an 8x8 model of Kinetics-400 (`--init`) on 64 frames of rawframes of Charades, any number of actions.

    Loss, rates and epochs are PySlowFast's. Clips are cropped as for Kinetics-400, and have all labels of their video,
    not only those of their seconds.
    """
    config = sampled(slowfast_r50_8x8x1_256e_kinetics400_rgb(), clip_len=64, frame_interval=2)
    config.model.num_classes = 157
    config.task.labels, config.task.average = "multi", "max"
    config.data.batch_size = 2
    config.optim = SGD(lr=0.0375, lr_batch=16)
    config.schedule = StepSchedule(epochs=57, milestones=(41, 49), warmup_epochs=4, warmup_start=1 / 375)
    config.training.precise_bn = 200
    config.training.sync_bn = True
    return config


def slowfast_r50_video_16x8x1_57e_charades_rgb() -> RecognitionConfig[SlowFastOptions]:
    """The same on video files."""
    return on_videos(slowfast_r50_16x8x1_57e_charades_rgb())


def slowfast_r18_video_4x4x1_small_rgb() -> RecognitionConfig[SlowFastOptions]:
    """Narrow ResNet-18s from scratch on 16 small pictures: hundreds of own videos, minutes on a few CPU cores."""
    config = small(sampled(slowfast_r50_video_4x16x1_256e_kinetics400_rgb(), clip_len=16, frame_interval=1))
    config.model = SlowFastOptions(depth=18, width=32, alpha=4, beta=4, dropout=0.3)
    config.data.val_views.sampling.num_clips = config.data.test_views.sampling.num_clips = 3
    return config


def slowfast_r18_4x4x1_small_rgb() -> RecognitionConfig[SlowFastOptions]:
    """The same on rawframes."""
    return on_rawframes(slowfast_r18_video_4x4x1_small_rgb())


def _from_scratch(model: M, *, clip_len: int, frame_interval: int, warmup_epochs: float) -> RecognitionConfig[M]:
    """What both are trained with: 256 epochs of half a cosine, 8 videos in each of 8 processes, 10 clips x 3 crops."""
    return TrainConfig(
        model=model,
        task=RecognitionOptions(),
        data=clips_of_videos(clip_len=clip_len, frame_interval=frame_interval, box=RandomResizedCrop()),
        optim=SGD(lr=0.1, lr_batch=64, clip_norm=40),
        schedule=CosineSchedule(epochs=256, warmup_epochs=warmup_epochs),
    )
