"""Boundary-Sensitive Network (Lin et al. 2018): possible starts and ends, candidates between them, their evaluation."""

from kinema.models.bsn import PEMOptions, TEMOptions
from kinema.tasks.localization.bsn.data import ProposalData
from kinema.tasks.localization.bsn.pem import PEMTask
from kinema.tasks.localization.bsn.pipeline import BSN, Stage
from kinema.tasks.localization.bsn.tem import TEMTask
from kinema.tasks.localization.data.features import FeatureData
from kinema.tasks.localization.data.windows import WindowOptions
from kinema.tasks.localization.options import LocalizationConfig
from kinema.training import Adam, StepSchedule, TrainConfig, TrainingOptions


def bsn_tem_400x100_1x16_20e_activitynet_feature() -> LocalizationConfig[TEMTask]:
    """TEM on 400 two-stream scores at 100 points of each video of ActivityNet 1.3: 16 videos."""
    return TrainConfig(
        model=TEMOptions(feature_channels=400, hidden=512),
        task=TEMTask(),
        data=FeatureData(parts=100, batch_size=16),
        optim=Adam(lr=0.001, lr_batch=16, weight_decay=1e-4, clip_norm=40),
        schedule=StepSchedule(epochs=20, milestones=(7, 14)),
        training=TrainingOptions(log_every=50),
    )


def bsn_pem_400x100_1x16_20e_activitynet_feature() -> LocalizationConfig[PEMTask]:
    """PEM on these candidates (`--data.proposals`): those of 16 videos."""
    return TrainConfig(
        model=PEMOptions(feature_channels=32, hidden=256),
        task=PEMTask(),
        data=ProposalData(batch_size=16, train_candidates=500),
        optim=Adam(lr=0.01, lr_batch=16, weight_decay=1e-5, clip_norm=40),
        schedule=StepSchedule(epochs=20, milestones=(10,)),
        training=TrainingOptions(log_every=50),
    )


def bsn_400x100_20e_activitynet_feature() -> BSN:
    """TEM, candidates and PEM in order, into a folder each."""
    tem, pem = bsn_tem_400x100_1x16_20e_activitynet_feature(), bsn_pem_400x100_1x16_20e_activitynet_feature()
    return BSN(data=tem.data, tem=Stage.of(tem), pem=Stage.of(pem))


def bsn_2048x100_20e_thumos14_feature() -> BSN:
    """The same on 2048 features at windows of 100 points, overlapping by half, of THUMOS14's videos."""
    config = bsn_400x100_20e_activitynet_feature()
    config.tem.model = TEMOptions(feature_channels=2048, hidden=512)
    config.data.windows = WindowOptions(points=100)
    config.data.train_subset, config.data.val_subset = "validation", "test"
    return config


def bsn_64x50_small_feature() -> BSN:
    """A narrow BSN for tens to hundreds of own videos, minutes on a few CPU cores."""
    config = bsn_400x100_20e_activitynet_feature()
    config.data.parts, config.data.batch_size = 50, 8
    config.tem.model = TEMOptions(feature_channels=64, hidden=128)
    for optim in (config.tem.optim, config.pem.optim):
        optim.lr, optim.lr_batch = 0.01, 8
    config.tem.training, config.pem.training = TrainingOptions(log_every=10), TrainingOptions(log_every=10)
    return config
