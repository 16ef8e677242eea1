"""What one training sample costs a core, from the index to a collated batch, beside the least that it could cost.

The limit is the bare decoding of the frames that had to be decoded, plus one resize of the crop: the same frames of the
same videos, with all that is known beforehand taken for granted: which frames, where the keyframes are, the crop's box.
Images are in memory, as bytes; a video file is opened anew for every sample, as it must be, and its frames are decoded
and turned to RGB by PyAV. Both ways take turns, sample by sample, in one process and on one thread.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any

import av
import numpy as np
import simplejpeg
import torch
from annotated_types import Ge
from av.video.stream import VideoStream

from kinema.console import progress
from kinema.data.batch import SampleKey
from kinema.data.crops import Box, cut
from kinema.data.dataset import VideoDataset, open_train_index, opener
from kinema.data.readers.packed import PackedReader
from kinema.data.readers.rawframes import RawFramesReader
from kinema.data.readers.reader import Image
from kinema.data.readers.sources import FLOW, Opener
from kinema.data.readers.video.pyav_reader import PyAVReader
from kinema.data.readers.video.quick import QUICK, QuickDecoder
from kinema.data.sampling import sample_train
from kinema.data.views import TrainClip
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.runtime.device import pick_device
from kinema.training import Config

CHUNK = 8
"""Frames that the limit decodes before it resizes them: as many as stay in a core's cache."""


@dataclass(kw_only=True)
class DataMeasure:
    """How much is measured."""

    samples: Annotated[int, Ge(1)] = 100
    """Samples that count, of each way."""
    warm_up: Annotated[int, Ge(0)] = 10
    """Samples before, which do not count."""
    batch: Annotated[int, Ge(1)] = 10
    """Samples of a batch."""


@dataclass(frozen=True, kw_only=True)
class DataFigures:
    """What was measured; times in milliseconds of one core, medians over batches."""

    recipe: str
    source: str
    train: str
    clip: str
    samples: int
    ms_per_sample: float
    samples_per_s: float
    limit_ms: float
    of_limit: float
    """Limit / measured: 1 is the most that there could be."""

    def as_json(self) -> dict[str, object]:
        """What `--json` prints."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class _Bare:
    """One sample prepared for the limit: everything but decoding and resizing is done."""

    decode: Callable[[], Iterator[Image]]
    """The wanted frames, (H, W, 3) each."""
    box: Box
    size: int


def benchmark_data(recipe: str, measure: DataMeasure, keys: Mapping[str, object]) -> DataFigures:
    """Measure the training data of a recipe; `keys` are changes of its options, `data.train` among them.

    Raises:
        UserError: the recipe reads no videos, there are none, or an option is wrong; or a video cannot be read.
    """
    results = list[tuple[Config, float, float]]()
    with progress("Reading batches", _batches(measure)) as meter:
        for result in measured_batches(recipe, measure, keys):
            results.append(result)
            meter.advance()
    counted = -(-measure.samples // measure.batch)
    config = results[0][0]
    own = 1000 * statistics.median(own for _, own, _ in results[-counted:])
    limit = 1000 * statistics.median(limit for _, _, limit in results[-counted:])
    sampling = config.train_clip.sampling
    return DataFigures(
        recipe=recipe,
        source=config.data.source,
        train=config.data.train,
        clip=f"{sampling.clip_len}x{sampling.frame_interval}x{sampling.num_clips}",
        samples=counted * measure.batch,
        ms_per_sample=own,
        samples_per_s=1000 / own,
        limit_ms=limit,
        of_limit=limit / own,
    )


def measured_batches(
    recipe: str, measure: DataMeasure, keys: Mapping[str, object]
) -> Iterator[tuple[Config, float, float]]:
    """The recipe's config, and seconds of CPU time a sample of one batch after another: of the path, of the limit.

    The first ones warm up. The two take turns in being first.

    Raises:
        UserError: see `benchmark_data`.
    """
    config = config_of(recipe, keys)
    if not isinstance(config, Config):
        raise UserError(f"{recipe} reads features of videos; `kinema benchmark data` measures how frames are read")
    if config.data.source in FLOW:
        raise UserError(f"{recipe} reads optical flow; `kinema benchmark data` measures how RGB is read")
    pick_device(config.runtime)  # as before a training, whose loaders inherit how memory is kept
    index = open_train_index(config.data)
    config.train_clip.crop.flip_pairs = ()  # labels are not looked at
    dataset = VideoDataset(index, [config.train_clip], config.data)
    made_by, threads = opener(config.data, index.path(0)), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number in range(_batches(measure)):
            rows = [(number * measure.batch + k) % len(index) for k in range(measure.batch)]
            bare = [_bare(made_by, index.path(row), config.train_clip, number) for row in rows]
            ways = (partial(_collated, dataset, [SampleKey(number, row) for row in rows]), partial(_limit, bare))
            if number % 2:
                own, limit = (_timed(way) for way in ways)
            else:
                limit, own = (_timed(way) for way in reversed(ways))
            yield config, own / measure.batch, limit / measure.batch
    finally:
        torch.set_num_threads(threads)


def _batches(measure: DataMeasure) -> int:
    return -(-measure.samples // measure.batch) + -(-measure.warm_up // measure.batch)


def _timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _collated(dataset: VideoDataset, keys: Sequence[SampleKey]) -> None:
    batch = dataset.__getitems__(keys)
    if len(batch) < len(keys):
        raise UserError(f"videos could not be read: {batch.bad[0].path}: {batch.bad[0].reason}")


def _limit(samples: Sequence[_Bare]) -> None:
    for sample in samples:
        frames = list[Any]()
        for frame in sample.decode():
            frames.append(frame)
            if len(frames) == CHUNK:
                _resize(frames, sample)
        if frames:
            _resize(frames, sample)


def _resize(frames: list[Any], sample: _Bare) -> None:
    cut(torch.from_numpy(np.stack(frames)), sample.box, sample.size)
    frames.clear()


def _bare(opened_by: Opener, path: str, clip: TrainClip, seed: int) -> _Bare:
    """A sample of the video as the loader would draw it."""
    rng = np.random.default_rng([seed, 1])
    video = opened_by.open(path)
    places = sorted(set(sample_train(clip.sampling, len(video), rng).ravel().tolist()))
    height, width = video.frames(places[:1]).shape[1:3]
    box = clip.crop.box.draw(height, width, rng)
    if isinstance(video, (RawFramesReader, PackedReader)):
        files = [video.file(place) for place in places]
        return _Bare(decode=lambda: map(_decode_image, files), box=box, size=clip.crop.size)
    exact = PyAVReader(opened_by.storage.local(path), path=path)
    return _Bare(decode=lambda: _decode_video(exact, places), box=box, size=clip.crop.size)


def _decode_image(data: bytes) -> Any:
    return simplejpeg.decode_jpeg(data, "RGB")


def _decode_video(exact: PyAVReader, places: Sequence[int]) -> Any:
    """The frames `places`, ascending, with nothing looked up or checked; no packet is decoded that need not be."""
    with av.open(exact.path, **QUICK if exact.by_tables else {}) as container:
        stream = container.streams.best("video")
        assert isinstance(stream, VideoStream)
        stream.codec_context.thread_count = 1
        decoder = QuickDecoder(container, stream, exact.table)
        decoder.plan(places)
        for place in places:
            frame = decoder.frame(place)
            if frame is None:
                raise UserError(f"{exact.path} is damaged, or of a kind that has no limit to compare with")
            yield frame.to_ndarray(format="rgb24")
