"""The order of batches: every video once, in any number of processes, from any place on."""

import pickle
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kinema.data.dataset import ClipDataset, open_train_index
from kinema.data.loader import EvalBatches, TrainBatches, load
from kinema.data.samples import Sample, SampleDataset, SampleKey
from kinema.data.timetable import BatchShape, Phase, Timetable
from kinema.errors import UserError
from tests.conftest import tiny_config


def train_batches(
    num_videos: int, batch_size: int, *, phases: Sequence[Phase] = (Phase(epochs=100),), seed: int = 0,
    accumulate: int = 1, rank: int = 0, world: int = 1, first_step: int = 0,
) -> TrainBatches:  # fmt: skip
    timetable = Timetable(num_videos, batch_size, phases, batches=accumulate * world)
    return TrainBatches(
        num_videos, batch_size, timetable, seed=seed, accumulate=accumulate, rank=rank, world=world,
        first_step=first_step,
    )  # fmt: skip


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9),
    st.integers(0, 12),
)  # fmt: skip
def test_balanced_classes_are_equally_frequent_in_all_processes_and_after_a_stop(
    labels: list[int], batch_size: int, world: int, seed: int, stopped: int
) -> None:
    labels *= -(-batch_size * world // len(labels))
    timetable = Timetable(len(labels), batch_size, [Phase(epochs=3)], batches=world)

    def batches(rank: int, first_step: int = 0) -> list[list[SampleKey]]:
        return list(
            TrainBatches(
                len(labels), batch_size, timetable, seed=seed, rank=rank, world=world, first_step=first_step,
                labels=np.array(labels),
            )
        )  # fmt: skip

    parts = [batches(rank) for rank in range(world)]
    for rank, part in enumerate(parts):
        assert batches(rank, min(stopped, timetable.steps)) == part[stopped:]
    for epoch in range(3):
        keys = [key for part in parts for batch in part for key in batch if key.epoch == epoch]
        assert len({(key.row, key.repeat) for key in keys}) == len(keys)  # every one is augmented differently
        counts = Counter(labels[key.row] for key in keys)
        # As many videos as fill no batch are left out of the epoch.
        most = -(-len(labels) // len(set(labels)))
        assert max(counts.values()) <= most
        assert sum(most - counts[label] for label in set(labels)) <= len(labels) - len(keys) + len(set(labels))
        for label in set(labels):
            taken = Counter(key.row for key in keys if labels[key.row] == label)
            assert all(count <= -(-most // labels.count(label)) for count in taken.values())


def test_a_repeated_video_is_augmented_differently() -> None:
    class Noise(SampleDataset[int, Tensor]):
        def read(self, key: SampleKey, rng: np.random.Generator, _out: Tensor | None, /) -> Sample[int]:
            return Sample(torch.from_numpy(rng.random(3)), key.row)

    data = Noise(4, seed=1)
    first, again, repeated = (data.__getitems__([SampleKey(2, 3, repeat=repeat)]).inputs for repeat in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, repeated)


def take(batches: TrainBatches, count: int) -> list[list[SampleKey]]:
    return list(islice(iter(batches), count))


@given(st.integers(1, 60), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3), st.integers(0, 9))
def test_an_epoch_deals_out_different_videos_to_all_processes(
    num_videos: int, batch_size: int, world: int, accumulate: int, seed: int
) -> None:
    steps = num_videos // (batch_size * world * accumulate)
    if not steps:
        with pytest.raises(UserError, match="do not fill the"):
            train_batches(num_videos, batch_size, accumulate=accumulate, world=world)
        return
    parts = [
        train_batches(num_videos, batch_size, seed=seed, accumulate=accumulate, rank=rank, world=world)
        for rank in range(world)
    ]
    for epoch in range(2):
        keys = [
            key
            for part in parts
            for batch in take(part, steps * accumulate * (epoch + 1))[steps * accumulate * epoch :]
            for key in batch
        ]
        assert {key.epoch for key in keys} == {epoch}
        assert len({key.row for key in keys}) == len(keys) == steps * accumulate * batch_size * world


PHASES = [
    [Phase(epochs=100)],
    [
        Phase(epochs=2, shapes=(BatchShape(4, 0), BatchShape(2, 1), BatchShape(1, 2))),
        Phase(epochs=1, shapes=(BatchShape(2, 3),)),
        Phase(epochs=2, shapes=(BatchShape(1, 4),)),
    ],
]


@given(st.integers(0, 40), st.integers(1, 3), st.sampled_from(PHASES))
def test_starting_anywhere_continues_the_same_stream(first: int, accumulate: int, phases: list[Phase]) -> None:
    whole = train_batches(43, 2, seed=5, accumulate=accumulate, phases=phases)
    part = train_batches(43, 2, seed=5, accumulate=accumulate, phases=phases, first_step=first)
    assert take(part, 20) == take(whole, first * accumulate + 20)[first * accumulate :]


@given(st.integers(8, 90), st.integers(1, 2), st.integers(1, 2), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_steps_of_changing_size_take_every_video_once_while_they_last(
    num_videos: int, batch_size: int, world: int, sizes: list[int]
) -> None:
    """Counted step by step: what the next step would need more than is left ends the epoch."""
    phases = [Phase(epochs=2, shapes=tuple(map(BatchShape, sizes, range(1, len(sizes) + 1)))), Phase(epochs=1)]
    expected, left = list[tuple[int, int]](), num_videos
    while left >= sizes[len(expected) % len(sizes)] * batch_size * world:
        turn = len(expected) % len(sizes)
        expected.append((sizes[turn] * batch_size, 1 + turn))
        left -= sizes[turn] * batch_size * world
    if not expected:
        return
    parts = [
        list(train_batches(num_videos, batch_size, phases=phases, rank=rank, world=world)) for rank in range(world)
    ]
    timetable = Timetable(num_videos, batch_size, phases, batches=world)
    assert len(parts[0]) == timetable.steps == 2 * len(expected) + num_videos // (batch_size * world)
    for epoch in range(2):
        steps = [part[epoch * len(expected) : (epoch + 1) * len(expected)] for part in parts]
        for part in steps:
            assert [(len(batch), batch[0].variant) for batch in part] == expected
        rows = [key.row for part in steps for batch in part for key in batch]
        assert len(set(rows)) == len(rows)
        assert {key.epoch for part in steps for batch in part for key in batch} == {epoch}
    assert timetable.epochs == 3
    assert timetable.epochs_done(len(expected)) == 1
    assert timetable.epochs_done(1) == pytest.approx(1 / len(expected))


def test_epochs_and_seeds_differ() -> None:
    batches = take(train_batches(32, 32, seed=0), 2) + take(train_batches(32, 32, seed=1), 1)
    orders = [[key.row for key in batch] for batch in batches]
    assert len({tuple(order) for order in orders}) == 3


@given(st.integers(0, 50), st.integers(1, 7), st.integers(1, 5))
def test_evaluation_takes_every_video_exactly_once(num_videos: int, batch_size: int, world: int) -> None:
    parts = [EvalBatches(num_videos, batch_size, rank=rank, world=world) for rank in range(world)]
    assert sorted(key.row for part in parts for batch in part for key in batch) == list(range(num_videos))
    assert all(len(part) == len(list(part)) for part in parts)


class Faulty(SampleDataset[int, Tensor]):
    """Row `at` raises a UserError of more than one line."""

    def __init__(self, at: int) -> None:
        super().__init__(12)
        self._at = at

    def read(self, key: SampleKey, _rng: np.random.Generator, _out: Tensor | None, /) -> Sample[int]:
        if key.row == self._at:
            raise UserError("the cache is full: 3 GB\nkinema.errors: free some, or raise --data.storage.cache-gb")
        return Sample(torch.zeros(1), key.row)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("at", [0, 7])
def test_a_fault_of_the_user_that_a_worker_meets_is_told_in_its_own_words(workers: int, at: int) -> None:
    loader = load(Faulty(at), EvalBatches(12, 2), workers=workers)
    with pytest.raises(UserError) as raised:
        list(loader)
    assert str(raised.value) == "the cache is full: 3 GB\nkinema.errors: free some, or raise --data.storage.cache-gb"


def test_a_dataset_crosses_to_spawned_workers(sample: Path) -> None:
    """Loader workers are not forked everywhere: then the dataset is pickled, and must give the same there."""
    config = tiny_config(sample)
    dataset = ClipDataset(open_train_index(config.data), [config.data.train_clip], config.data)
    copy = pickle.loads(ForkingPickler.dumps(dataset))
    one, other = (data[SampleKey(3, 5)].sample for data in (dataset, copy))
    assert one is not None
    assert other is not None
    assert torch.equal(one.inputs, other.inputs)
