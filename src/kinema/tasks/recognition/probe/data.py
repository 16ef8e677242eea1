"""Clips to encode, and their cached features as a dataset."""

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

import numpy as np
from torch import Tensor
from torch.utils.data import Sampler

from kinema.data.dataset import ClipDataset, ViewDataset, stack_labels
from kinema.data.kinds import Label
from kinema.data.lists.index import Index
from kinema.data.patience import Patience
from kinema.data.samples import Sample, SampleDataset, SampleGenerator, SampleKey
from kinema.tasks.recognition.probe.cache import FeatureCache


class ClipsToEncode(SampleDataset[Label, Tensor]):
    """Clips or views of videos whose randomness depends on (seed, variant, video): the same ones in every list.

    `SampleKey.epoch` is the variant. Bad files are left out of their batch.
    """

    def __init__(self, clips: ClipDataset | ViewDataset, index: Index, *, seed: int, patience: float) -> None:
        super().__init__(len(index), seed=seed, patience=Patience(patience), generator=_by_video(index))
        self._clips = clips

    def allocate(self, keys: Sequence[SampleKey]) -> Tensor:
        """Return memory for the clips of a batch."""
        return self._clips.allocate(keys)

    def read(self, key: SampleKey, rng: np.random.Generator, out: Tensor | None, /) -> Sample[Label]:
        """Read the clips of a video, (V, T, C, H, W) uint8 in channels-last memory."""
        return self._clips.read(key, rng, out)

    def stack_targets(self, targets: list[Label]) -> Tensor:
        """Return the labels of a batch."""
        return stack_labels(targets)


def _by_video(index: Index) -> Callable[[Sequence[int]], np.random.Generator]:
    generator = SampleGenerator()

    def of_video(numbers: Sequence[int]) -> np.random.Generator:
        seed, variant, row = numbers
        video = index.name(row).encode(errors="surrogateescape")
        return generator((seed, variant, int.from_bytes(blake2b(video, digest_size=8).digest())))

    return of_video


class Batches(Sampler[list[SampleKey]]):
    """Given batches of sample keys."""

    def __init__(self, batches: Sequence[list[SampleKey]]) -> None:
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return iter(self._batches)


class CachedFeatures(SampleDataset[Label, Tensor]):
    """Cached features (V, …) of videos with their labels; epoch e has the clips of variant e mod `variants`.

    A video that is taken again in an epoch has the next variants.
    """

    def __init__(self, cache: FeatureCache, index: Index, *, variants: int, seed: int, replace: bool) -> None:
        super().__init__(len(index), seed=seed, replace=replace)
        self._cache, self._index, self._variants = cache, index, variants

    def read(self, key: SampleKey, _rng: np.random.Generator, _out: Tensor | None, /) -> Sample[Label]:
        """Read the features of a video."""
        label = self._index.label(key.row) if self._index.label_offsets is None else self._index.label_set(key.row)
        return Sample(self._cache.read(key.row, (key.epoch + key.repeat) % self._variants), label)

    def stack_targets(self, targets: list[Label]) -> Tensor:
        """Return the labels of a batch."""
        return stack_labels(targets)
