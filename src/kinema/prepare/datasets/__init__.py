"""Lists and class names of public datasets from their official annotation files, with counts of missing videos."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kinema.prepare.datasets.activitynet import ActivityNet, prepare_activitynet
from kinema.prepare.datasets.charades import Charades, read_charades
from kinema.prepare.datasets.diving48 import Diving48, read_diving48
from kinema.prepare.datasets.hmdb51 import Hmdb51, read_hmdb51
from kinema.prepare.datasets.kinetics import Kinetics, prepare_kinetics
from kinema.prepare.datasets.lists import FileOptions, Report, SplitReport, build_lists
from kinema.prepare.datasets.moments import Moments, read_moments
from kinema.prepare.datasets.official import Annotations
from kinema.prepare.datasets.something import Jester, SomethingV1, SomethingV2, read_semicolons, read_sthv2
from kinema.prepare.datasets.thumos14 import Thumos14, prepare_thumos14
from kinema.prepare.datasets.ucf101 import Ucf101, read_ucf101

__all__ = ["DATASETS", "Dataset", "FileOptions", "Report", "SplitReport"]


@dataclass(frozen=True)
class Dataset:
    """A public dataset: `prepare` takes an instance of `options`, whose docstring is the help of its subcommand."""

    options: type[FileOptions]
    prepare: Callable[[Any], Report]


def _listed(options: type[FileOptions], read: Callable[[Any], Annotations]) -> Dataset:
    """A dataset of labeled clips, whose annotations are written as lists."""
    return Dataset(options, lambda given: build_lists(read(given), given))


DATASETS = {
    "kinetics400": Dataset(Kinetics, partial(prepare_kinetics, num_classes=400)),
    "kinetics600": Dataset(Kinetics, partial(prepare_kinetics, num_classes=600)),
    "kinetics700": Dataset(Kinetics, partial(prepare_kinetics, num_classes=700)),
    "ucf101": _listed(Ucf101, lambda options: read_ucf101(options.annotations, options.split)),
    "hmdb51": _listed(Hmdb51, lambda options: read_hmdb51(options.annotations, options.split)),
    "sthv1": _listed(SomethingV1, lambda options: read_semicolons(options.annotations, "something-something-v1")),
    "sthv2": _listed(SomethingV2, lambda options: read_sthv2(options.annotations)),
    "moments": _listed(Moments, lambda options: read_moments(options.annotations)),
    "jester": _listed(Jester, lambda options: read_semicolons(options.annotations, "jester-v1")),
    "diving48": _listed(Diving48, lambda options: read_diving48(options.annotations)),
    "charades": _listed(Charades, lambda options: read_charades(options.annotations)),
    "activitynet": Dataset(ActivityNet, prepare_activitynet),
    "thumos14": Dataset(Thumos14, prepare_thumos14),
}
"""Datasets by subcommand of `kinema prepare`."""
