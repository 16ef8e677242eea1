"""Batches that a dataset makes in their own memory, against the same samples made one by one."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kinema.data.augment import Augment
from kinema.data.crops import RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.dataset import ClipDataset, ViewDataset, open_train_index
from kinema.data.loader import EvalBatches, load
from kinema.data.options import DataOptions
from kinema.data.samples import Batch, SampleKey
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from tests.data.drawn_videos import write_video

CROP = TrainCrop(box=RandomResizedCrop(), size=24)
SEGMENTS = Sampling(clip_len=1, num_clips=3, joined=True)
CLIPS = Sampling(clip_len=4, frame_interval=2, num_clips=2)
TRAINED = [
    TrainClip(sampling=SEGMENTS, crop=CROP),
    TrainClip(sampling=CLIPS, crop=CROP, repeats=2),
    TrainClip(sampling=CLIPS, crop=CROP, augment=Augment(rand_augment=2, random_erasing=0.5)),
]
TESTED = [
    Views(sampling=replace(SEGMENTS, twice=True), crops=ViewCrops(crops="ten", short_side=24, size=20)),
    Views(sampling=CLIPS, crops=ViewCrops(crops="three", short_side=24, size=24)),
    Views(sampling=CLIPS, crops=ViewCrops(short_side=24, size=20)),
]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> DataOptions:
    """Five videos, the third of which is none."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(5):
        write_video(folder / f"{number}.mp4", times=range(20 + number))
    (folder / "2.mp4").write_bytes(b"no video")
    (folder / "list.txt").write_text("".join(f"{number}.mp4 {number}\n" for number in range(5)))
    return DataOptions(train=str(folder / "list.txt"))


def open_dataset(views: list[TrainClip] | Views, options: DataOptions) -> ClipDataset | ViewDataset:
    index = open_train_index(options)
    return (
        ViewDataset(index, views, options) if isinstance(views, Views) else ClipDataset(index, views, options, seed=3)
    )


def one_by_one(dataset: ClipDataset | ViewDataset, keys: list[SampleKey]) -> Batch[Tensor]:
    """The batch by its definition."""
    results = [dataset[key] for key in keys]
    samples = [result.sample for result in results if result.sample is not None]
    return Batch(
        torch.stack([sample.inputs for sample in samples]),
        torch.tensor([sample.target for sample in samples]),
        torch.tensor([result.row for result in results if result.sample is not None]),
        tuple(file for result in results for file in result.bad),
    )


@pytest.mark.parametrize("views", [*([clip] for clip in TRAINED), *TESTED], ids=repr)
def test_a_batch_is_its_samples_side_by_side(videos: DataOptions, views: list[TrainClip] | Views) -> None:
    """Also where one cannot be read: in training another takes its place, in evaluation the batch is shorter."""
    dataset = open_dataset(views, videos)
    keys = [SampleKey(7, row) for row in (4, 2, 0, 1)]
    expected, batch = one_by_one(dataset, keys), dataset.__getitems__(keys)
    assert len(batch) == (3 if isinstance(views, Views) else 4)
    assert batch.inputs.movedim(3, -1).is_contiguous()
    assert torch.equal(batch.inputs, expected.inputs)
    assert batch.targets.tolist() == expected.targets.tolist()
    assert batch.rows.tolist() == expected.rows.tolist()
    assert [file.path for file in batch.bad] == [file.path for file in expected.bad] == [videos.train[:-8] + "2.mp4"]
    shape = views.shape if isinstance(views, Views) else views[0].shape
    assert batch.inputs.movedim(3, -1).shape[1:] == (*shape, 3)


def test_workers_make_the_same_batches(videos: DataOptions) -> None:
    dataset = open_dataset([TRAINED[0]], videos)
    batches = [list(load(dataset, EvalBatches(5, 2), workers=workers)) for workers in (0, 2)]
    assert [len(batch) for batch in batches[0]] == [2, 2, 1]
    for own, made in zip(*batches, strict=True):
        assert torch.equal(own.inputs, made.inputs)
        assert torch.equal(own.targets, made.targets)
        assert made.inputs.movedim(3, -1).is_contiguous()


def test_a_batch_of_bad_videos_alone_is_empty(videos: DataOptions) -> None:
    dataset = open_dataset(TESTED[0], videos)
    batch = dataset.__getitems__([SampleKey(0, 2)])
    assert len(batch) == len(batch.inputs) == 0
    assert len(batch.bad) == 1
