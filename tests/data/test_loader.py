"""The order of batches: every video once, in any number of processes, from any place on."""

import pickle
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.batch import SampleKey
from kinema.data.dataset import VideoDataset, open_train_index
from kinema.data.loader import EvalBatches, TrainBatches
from kinema.errors import UserError
from tests.conftest import tiny_config


def take(batches: TrainBatches, count: int) -> list[list[SampleKey]]:
    return list(islice(iter(batches), count))


@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
def test_an_epoch_deals_out_different_videos_to_all_processes(
    num_videos: int, batch_size: int, world: int, accumulate: int, seed: int
) -> None:
    if num_videos < batch_size * world * accumulate:
        with pytest.raises(UserError, match="do not fill a batch"):
            TrainBatches(num_videos, batch_size, seed=seed, accumulate=accumulate, world=world)
        return
    parts = [
        TrainBatches(num_videos, batch_size, seed=seed, accumulate=accumulate, rank=rank, world=world)
        for rank in range(world)
    ]
    steps = num_videos // (batch_size * world * accumulate)
    assert {part.steps_per_epoch for part in parts} == {steps}
    for epoch in range(2):
        keys = [
            key
            for part in parts
            for batch in take(part, steps * accumulate * (epoch + 1))[steps * accumulate * epoch :]
            for key in batch
        ]
        assert {key.epoch for key in keys} == {epoch}
        assert len({key.index for key in keys}) == len(keys) == steps * accumulate * batch_size * world


@given(st.integers(0, 40), st.integers(1, 3))
def test_starting_anywhere_continues_the_same_stream(start: int, accumulate: int) -> None:
    whole = TrainBatches(23, 2, seed=5, accumulate=accumulate)
    part = TrainBatches(23, 2, seed=5, accumulate=accumulate, start=start)
    assert take(part, 20) == take(whole, start + 20)[start:]


def test_epochs_and_seeds_differ() -> None:
    batches = take(TrainBatches(32, 32, seed=0), 2) + take(TrainBatches(32, 32, seed=1), 1)
    orders = [[key.index for key in batch] for batch in batches]
    assert len({tuple(order) for order in orders}) == 3


@given(st.integers(0, 50), st.integers(1, 7), st.integers(1, 5))
def test_evaluation_takes_every_video_exactly_once(num_videos: int, batch_size: int, world: int) -> None:
    parts = [EvalBatches(num_videos, batch_size, rank=rank, world=world) for rank in range(world)]
    assert sorted(key.index for part in parts for batch in part for key in batch) == list(range(num_videos))
    assert all(len(part) == len(list(part)) for part in parts)


def test_a_dataset_crosses_to_spawned_workers(sample: Path) -> None:
    """Loader workers are not forked everywhere: then the dataset is pickled, and must give the same there."""
    config = tiny_config(sample)
    dataset = VideoDataset(open_train_index(config.data), config.train_clip, config.data)
    copy = pickle.loads(ForkingPickler.dumps(dataset))
    one, other = (data[SampleKey(3, 5)].sample for data in (dataset, copy))
    assert one is not None
    assert other is not None
    assert torch.equal(one.clips, other.clips)
