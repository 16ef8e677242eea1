"""`kinema benchmark data`: CPU time of a training sample from the index to a collated batch, beside its lower limit.

The limit is the time to decode the frames that must be decoded, plus one resize of the crop. It is measured on the same
frames of the same videos, with frame numbers, keyframe positions and crop boxes known in advance. Images are read from
memory; a video file is opened for each sample, decoded and converted to RGB by PyAV. The data path and its limit are
timed in turn, batch by batch, in one process on one thread.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import av
import numpy as np
import simplejpeg
import torch
from av.video.stream import VideoStream

from kinema.benchmark.options import DataMeasure
from kinema.console import progress
from kinema.data.crops import Box, cut
from kinema.data.dataset import ClipDataset, open_train_index, opener
from kinema.data.kinds import FLOW
from kinema.data.readers.reader import HasFiles, Image
from kinema.data.readers.sources import Opener
from kinema.data.readers.video.pyav_reader import PyAVReader
from kinema.data.readers.video.quick import QUICK, QuickDecoder
from kinema.data.samples import SampleKey
from kinema.data.sampling import sample_train
from kinema.data.views import TrainClip
from kinema.errors import UserError
from kinema.recipes import recognizer_config_of
from kinema.runtime.device import pick_device
from kinema.training.config import AnyConfig

CHUNK = 8
"""Frames decoded before they are resized together when the limit is timed: as many as fit in a core's cache."""


@dataclass(frozen=True, kw_only=True)
class DataFigures:
    """Cost of reading training samples: CPU time in milliseconds, median over batches."""

    recipe: str
    source: str
    train: str
    clip: str
    samples: int
    ms_per_sample: float
    samples_per_s: float
    limit_ms: float
    of_limit: float
    """`limit_ms` / `ms_per_sample`; at most 1."""


@dataclass(frozen=True, kw_only=True)
class _LimitSample:
    """A sample of which only decoding and resizing remain to be done."""

    decode: Callable[[], Iterator[Image]]
    """Decode the frames of the clip, (H, W, 3) each."""
    box: Box
    size: int


def benchmark_data(recipe: str, measure: DataMeasure, keys: Mapping[str, object]) -> DataFigures:
    """Measure the reading of a recipe's training data.

    Args:
        recipe: Name listed by `kinema recipes`, or my_file.py:function.
        measure: Number of samples.
        keys: Dotted keys of options to change, among them `data.train`.

    Raises:
        UserError: The recipe does not read frames, there are no videos, an option is invalid, or a video cannot be
            read.
    """
    results = list[tuple[AnyConfig, float, float]]()
    with progress("Reading batches", _batches(measure)) as meter:
        for result in measured_batches(recipe, measure, keys):
            results.append(result)
            meter.advance()
    counted = -(-measure.samples // measure.batch)
    config = results[0][0]
    own = 1000 * statistics.median(own for _, own, _ in results[-counted:])
    limit = 1000 * statistics.median(limit for _, _, limit in results[-counted:])
    sampling = config.data.train_clip.sampling
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
) -> Iterator[tuple[AnyConfig, float, float]]:
    """Yield the config and, for each batch, the CPU seconds per sample of the data path and of its limit.

    Warm-up batches come first. Which of the two is timed first alternates.

    Raises:
        UserError: See `benchmark_data`.
    """
    config = recognizer_config_of(recipe, keys)
    if config.data.source in FLOW:
        raise UserError(f"{recipe} reads optical flow; `kinema benchmark data` applies to recipes that read RGB frames")
    pick_device(config.runtime)  # as in training, whose loader workers inherit its memory allocator settings
    index = open_train_index(config.data)
    config.data.train_clip.crop.flip_pairs = ()  # labels are not used
    dataset = ClipDataset(index, [config.data.train_clip], config.data)
    frames_opener, threads = opener(config.data, index.path(0)), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for number in range(_batches(measure)):
            rows = [(number * measure.batch + k) % len(index) for k in range(measure.batch)]
            samples = [_limit_sample(frames_opener, index.path(row), config.data.train_clip, number) for row in rows]
            path = partial(_collate, dataset, [SampleKey(number, row) for row in rows])
            limit_path = partial(_run_limit, samples)
            if number % 2:
                own, limit = _timed(path), _timed(limit_path)
            else:
                limit, own = _timed(limit_path), _timed(path)
            yield config, own / measure.batch, limit / measure.batch
    finally:
        torch.set_num_threads(threads)


def _batches(measure: DataMeasure) -> int:
    return -(-measure.samples // measure.batch) + -(-measure.warm_up // measure.batch)


def _timed(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _collate(dataset: ClipDataset, keys: Sequence[SampleKey]) -> None:
    batch = dataset.__getitems__(keys)
    if len(batch) < len(keys):
        raise UserError(f"{batch.bad[0].path} cannot be read: {batch.bad[0].reason}")


def _run_limit(samples: Sequence[_LimitSample]) -> None:
    for sample in samples:
        frames = list[Any]()
        for frame in sample.decode():
            frames.append(frame)
            if len(frames) == CHUNK:
                _resize(frames, sample)
        if frames:
            _resize(frames, sample)


def _resize(frames: list[Any], sample: _LimitSample) -> None:
    cut(torch.from_numpy(np.stack(frames)), sample.box, sample.size)
    frames.clear()


def _limit_sample(frames_opener: Opener, path: str, clip: TrainClip, seed: int) -> _LimitSample:
    """Draw a sample of the video as the loader does."""
    rng = np.random.default_rng([seed, 1])
    video = frames_opener.open(path)
    numbers = sorted(set(sample_train(clip.sampling, len(video), rng).ravel().tolist()))
    height, width = video.frames(numbers[:1]).shape[1:3]
    box = clip.crop.box.draw(height, width, rng)
    if isinstance(video, HasFiles):
        files = [video.files(number)[0] for number in numbers]
        return _LimitSample(decode=lambda: map(_decode_image, files), box=box, size=clip.crop.size)
    exact = PyAVReader(frames_opener.storage.local(path), path=path)
    return _LimitSample(decode=lambda: _decode_video(exact, numbers), box=box, size=clip.crop.size)


def _decode_image(data: bytes) -> Any:
    return simplejpeg.decode_jpeg(data, "RGB")


def _decode_video(exact: PyAVReader, numbers: Sequence[int]) -> Any:
    """Decode frames by ascending number without any checks, skipping packets that they do not depend on."""
    with av.open(exact.path, **QUICK if exact.by_tables else {}) as container:
        stream = container.streams.best("video")
        assert isinstance(stream, VideoStream)
        stream.codec_context.thread_count = 1
        decoder = QuickDecoder(container, stream, exact.table)
        decoder.plan(numbers)
        for number in numbers:
            frame = decoder.frame(number)
            if frame is None:
                raise UserError(f"{exact.path} is damaged, or of a format for which no limit can be measured")
            yield frame.to_ndarray(format="rgb24")
