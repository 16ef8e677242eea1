"""Lists and class names of public datasets from their official annotation files, with counts of missing videos."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kinema.prepare.datasets.activitynet import ActivityNet, prepare_activitynet
from kinema.prepare.datasets.charades import Charades, prepare_charades
from kinema.prepare.datasets.diving48 import Diving48, prepare_diving48
from kinema.prepare.datasets.hmdb51 import Hmdb51, prepare_hmdb51
from kinema.prepare.datasets.kinetics import Kinetics, prepare_kinetics
from kinema.prepare.datasets.lists import FileOptions, Report, SplitReport
from kinema.prepare.datasets.moments import Moments, prepare_moments
from kinema.prepare.datasets.something import (
    Jester,
    SomethingV1,
    SomethingV2,
    prepare_jester,
    prepare_sthv1,
    prepare_sthv2,
)
from kinema.prepare.datasets.thumos14 import Thumos14, prepare_thumos14
from kinema.prepare.datasets.ucf101 import Ucf101, prepare_ucf101

__all__ = ["DATASETS", "Dataset", "FileOptions", "Report", "SplitReport"]


@dataclass(frozen=True)
class Dataset:
    """A public dataset: `prepare` takes an instance of `options`, whose docstring is the help of its subcommand."""

    options: type[FileOptions]
    prepare: Callable[[Any], Report]


DATASETS = {
    "kinetics400": Dataset(Kinetics, partial(prepare_kinetics, num_classes=400)),
    "kinetics600": Dataset(Kinetics, partial(prepare_kinetics, num_classes=600)),
    "kinetics700": Dataset(Kinetics, partial(prepare_kinetics, num_classes=700)),
    "ucf101": Dataset(Ucf101, prepare_ucf101),
    "hmdb51": Dataset(Hmdb51, prepare_hmdb51),
    "sthv1": Dataset(SomethingV1, prepare_sthv1),
    "sthv2": Dataset(SomethingV2, prepare_sthv2),
    "moments": Dataset(Moments, prepare_moments),
    "jester": Dataset(Jester, prepare_jester),
    "diving48": Dataset(Diving48, prepare_diving48),
    "charades": Dataset(Charades, prepare_charades),
    "activitynet": Dataset(ActivityNet, prepare_activitynet),
    "thumos14": Dataset(Thumos14, prepare_thumos14),
}
"""Datasets by subcommand of `kinema prepare`."""
