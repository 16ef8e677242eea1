"""Options of `kinema benchmark`, apart from the functions that read them, whose modules import torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import annotated_types as at
import tyro
from annotated_types import Ge, Gt

Form = Literal["rawframes", "video", "dense"]
"""Folders of 256p JPEGs, ordinary 256p videos, or 256p videos with a keyframe every 16 frames."""

Storage = Literal["disk", "memcached"]


@dataclass(kw_only=True)
class TrainMeasure:
    """Options of a measurement."""

    iters: Annotated[int, at.Ge(1)] = 200
    """Timed iterations."""
    skip: Annotated[int, at.Ge(0)] = 50
    """Warm-up iterations before the timed ones."""
    parts: Annotated[int, at.Ge(0)] = 50
    """Timed iterations of each of the two further measurements, of compute alone and of data loading alone, at most
    `iters`; 0: skip both."""
    source: Form | Literal["recipe"] = "recipe"
    """Input to read: rawframes, ordinary video or dense-encoded video; recipe: as the recipe says."""
    storage: Storage = "disk"
    """Storage of the input: the disk, or a Memcached server started for the run, which caches files on first read. To
    use existing servers, pass --data.storage.memcached instead."""
    videos: Path | None = None
    """Folder of videos to measure on, first converted to 256p in the form of --source; labels are ignored. Without
    this and --data.train, synthetic videos are used."""
    sample_videos: Annotated[int, at.Ge(1)] = 8
    """Number of different synthetic videos."""
    sample_frames: Annotated[int, at.Ge(1)] = 300
    """Frames per synthetic video, at 30 fps."""


@dataclass(kw_only=True)
class DataMeasure:
    """Options of a measurement."""

    samples: Annotated[int, Ge(1)] = 100
    """Timed samples."""
    warm_up: Annotated[int, Ge(0)] = 10
    """Warm-up samples before the timed ones."""
    batch: Annotated[int, Ge(1)] = 10
    """Samples per batch."""


@dataclass(kw_only=True)
class CompareOptions:
    """Options of a comparison."""

    environments: Path = Path.home() / ".cache/kinema/peers"
    """Folder of the peers' virtual environments, which --set-up creates."""
    checkouts: Path = Path("checkouts")
    """Folder of the clones of peers that are not packages, under the repositories' names: SlowFast,
    temporal-shift-module, mmaction, BMN-Boundary-Matching-Network, BSN-boundary-sensitive-network."""
    rounds: Annotated[int, at.Ge(1)] = 3
    """Rounds; in each, every contender is timed once."""
    block: Annotated[int, at.Ge(1)] = 3
    """Timed iterations of a contender per round, at least, after one iteration of warm-up or more."""
    block_seconds: Annotated[float, at.Ge(0)] = 1.0
    """Seconds that these take, at least: short steps are timed more often."""
    batch_size: Annotated[int, at.Ge(0)] = 0
    """Samples per batch; 0: the benchmark's batch size on a GPU, 2 or 16 on a CPU."""
    best: Literal["bf16", "fp16", "none"] = "bf16"
    """Precision of a second Kinema, timed beside the fp32 one; all peers run in fp32."""


@dataclass(kw_only=True)
class SuiteOptions(CompareOptions):
    """Options of all measurements together."""

    iters: Annotated[int, Ge(0)] = 0
    """Timed iterations of trainings with data loading; 0: 200 on a GPU, 12 on a CPU."""
    skip: Annotated[int, Ge(0)] = 0
    """Warm-up iterations before them; 0: 50 on a GPU, 3 on a CPU."""
    devices: Annotated[int, Ge(1)] = 1
    """Processes that train together."""
    videos: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder of videos to read; None: synthetic videos."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = ()
    """Measurements to take, such as compare_tsn or train_tsn_dense; none: all that are missing."""
    minutes: Annotated[float, Gt(0)] = 100_000.0
    """Minutes after which no further measurement is started; the next call continues there."""
    work_dir: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/benchmark")
    """Output folder: a JSON file for each measurement."""
