"""Datasets of samples: reproducible randomness, replacement of bad files, waiting for storages; and batches of them."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import blake2b
from typing import Any, Generic, TypeVar

import numpy as np
import torch
import torch.multiprocessing
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import Dataset

from kinema.data.patience import Patience
from kinema.errors import MediaError

_MAX_BAD = 10  # bad files in a row after which a sample is given up
_INCREMENT = 0x5851F42D4C957F2D14057B7EF767814F  # of PCG64: any odd number

X = TypeVar("X")
Y = TypeVar("Y")


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Key of a sample: row `row` of the dataset, with the randomness of `epoch`.

    variant: Shape of the sample, as the dataset numbers its shapes; 0 where it has only one.
    repeat: How often the row was taken in this epoch before, each time with randomness of its own.
    """

    epoch: int
    row: int
    variant: int = 0
    repeat: int = 0


@dataclass(slots=True)
class Sample(Generic[X]):
    """Inputs of a network and the target of its loss."""

    inputs: Tensor
    target: X


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that could not be read, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class SampleResult(Generic[X]):
    """Outcome of reading a key: the row read, its sample (None: nothing could be read), and the bad files met."""

    row: int
    sample: Sample[X] | None
    bad: tuple[BadFile, ...] = ()


@dataclass(slots=True)
class Batch(Generic[Y]):
    """Inputs and targets of some samples.

    inputs: What the network reads: tensors, alone or in tuples; of videos (B, V, T, C, H, W) uint8 in channels-last
        memory.
    targets: What the loss compares with: tensors, alone or in tuples or dictionaries. Labels are (B,) int64 or, where a
        video may have any number L of them, (B, L) int64, padded with -1.
    rows: (B,) int64, rows of the dataset. B may be 0, when no file could be read: `inputs` are empty then.
    bad: Files that could not be read.
    """

    inputs: Any
    targets: Y
    rows: Tensor
    bad: tuple[BadFile, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def pin_memory(self) -> "Batch[Y]":
        """Copy to page-locked memory, from which a device copies asynchronously. Called by torch's DataLoader."""
        inputs, targets = tree_map(Tensor.pin_memory, (self.inputs, self.targets))
        return Batch(inputs, targets, self.rows, self.bad)

    def to(self, device: torch.device) -> "Batch[Y]":
        """Move inputs and targets to `device`, asynchronously where they are in page-locked memory."""
        inputs, targets = tree_map(partial(copy_to, device=device), (self.inputs, self.targets))
        return Batch(inputs, targets, self.rows, self.bad)


def copy_to(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to `device`; from page-locked memory to a GPU asynchronously, on a stream beside that of the computation.

    Later work on the current stream waits for the copy.
    """
    if device.type != "cuda" or not tensor.is_pinned():
        return tensor.to(device, non_blocking=True)
    with torch.cuda.stream(_copy_stream(device)):
        copy = tensor.to(device, non_blocking=True)
    compute_stream = torch.cuda.current_stream(device)
    compute_stream.wait_stream(_copy_stream(device))
    copy.record_stream(compute_stream)  # keeps the allocator from reusing its memory while it is read
    return copy


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


class SampleDataset(Dataset[SampleResult[X]], Generic[X, Y]):
    """Samples by key, and batches of them; a subclass implements `read` for its modality.

    A sample depends on (seed, epoch, row) alone, whatever the number of workers and processes and wherever a run was
    resumed. A file that cannot be read is reported, and replaced by a random other row if `replace` is set. A storage
    that does not answer is waited for.

    Args:
        num_rows: Number of rows.
        seed: Seed of all randomness.
        replace: Whether to replace bad files, as in training.
        patience: Waits for the storage; None: an outage is raised at once.
        generator: Returns the random generator of [seed, epoch, row]; None: `SampleGenerator`.
    """

    def __init__(
        self,
        num_rows: int,
        *,
        seed: int = 0,
        replace: bool = False,
        patience: Patience | None = None,
        generator: Callable[[Sequence[int]], np.random.Generator] | None = None,
    ) -> None:
        self._num_rows, self._seed, self._replace, self._patience = num_rows, seed, replace, patience
        self._generator = generator or SampleGenerator()

    def read(self, key: SampleKey, rng: np.random.Generator, out: Tensor | None, /) -> Sample[X]:
        """Read the sample of a key, with `rng` as its only randomness; in `out`, if given: see `allocate`.

        Raises:
            MediaError: Its file cannot be read.
            StorageOutage: The storage does not answer.
        """
        raise NotImplementedError

    def allocate(self, keys: Sequence[SampleKey]) -> Tensor | None:
        """Return memory for the inputs of a batch, (B, …), which `read` fills; None, the default: they are stacked."""

    def stack_inputs(self, inputs: list[Tensor]) -> Any:
        """Return the inputs of at least one sample as those of a batch; see `Batch`."""
        return torch.stack(inputs)

    def stack_targets(self, targets: list[X]) -> Y:
        """Return the targets of any number of samples as those of a batch; see `Batch`."""
        batched: Any = torch.tensor(targets)
        return batched

    def __len__(self) -> int:
        return self._num_rows

    def __getitem__(self, key: SampleKey) -> SampleResult[X]:
        return self._fetch(key, None)

    def __getitems__(self, keys: Sequence[SampleKey]) -> Batch[Y]:
        """Return the batch of some keys of one variant. Called by torch's DataLoader."""
        memory, results, samples = self.allocate(keys), list[SampleResult[X]](), list[Sample[X]]()
        for key in keys:
            results.append(self._fetch(key, None if memory is None else memory[len(samples)]))
            samples += [results[-1].sample] if results[-1].sample is not None else []
        inputs: Any = torch.empty(0)
        if memory is not None:
            inputs = memory[: len(samples)]
        elif samples:
            inputs = tree_map(shared, self.stack_inputs([sample.inputs for sample in samples]))
        return Batch(
            inputs=inputs,
            targets=tree_map(shared, self.stack_targets([sample.target for sample in samples])),
            rows=shared(
                torch.tensor([result.row for result in results if result.sample is not None], dtype=torch.int64)
            ),
            bad=tuple(file for result in results for file in result.bad),
        )

    def _fetch(self, key: SampleKey, out: Tensor | None) -> SampleResult[X]:
        fetch = partial(self._fetch_once, key, out)
        return fetch() if self._patience is None else self._patience.through(fetch)

    def _fetch_once(self, key: SampleKey, out: Tensor | None) -> SampleResult[X]:
        numbers = (self._seed, key.epoch, key.row, key.repeat) if key.repeat else (self._seed, key.epoch, key.row)
        rng, bad = self._generator(numbers), list[BadFile]()
        while len(bad) < _MAX_BAD:
            try:
                return SampleResult(key.row, self.read(key, rng, out), tuple(bad))
            except MediaError as error:
                bad.append(BadFile(error.path, error.reason))
            if not self._replace:
                break
            key = replace(key, row=int(rng.integers(self._num_rows)))
        return SampleResult(key.row, None, tuple(bad))


class SampleGenerator:
    """Random generators seeded by a sequence of integers, such as (seed, epoch, row).

    There is one generator, reseeded at each call: creating one takes longer than a sample uses it.
    """

    def __init__(self) -> None:
        self._bits = np.random.PCG64()
        self._generator = np.random.Generator(self._bits)

    def __call__(self, numbers: Sequence[int]) -> np.random.Generator:
        """Return the generator of these numbers, valid until the next call."""
        state = int.from_bytes(blake2b(str(tuple(numbers)).encode(), digest_size=16).digest())
        self._bits.state = {
            "bit_generator": "PCG64",
            "state": {"state": state, "inc": _INCREMENT},
            "has_uint32": 0,
            "uinteger": 0,
        }
        return self._generator


def batch_memory(samples: int, shape: Sequence[int]) -> Tensor:
    """Return memory for the clips of a batch, (B, V, T, C, H, W) uint8 channels-last; `shape` is (V, T, H, W, C).

    In a loader worker it is shared memory, which the training process reads without a copy.
    """
    size = samples * math.prod(shape)
    memory = _shared_memory(size) if _in_worker() else torch.UntypedStorage(size)
    return torch.empty(0, dtype=torch.uint8).set_(memory).view(samples, *shape).movedim(-1, 3)


def shared(tensor: Tensor) -> Tensor:
    """In a loader worker, return a copy in shared memory, unless it is there already; elsewhere the tensor itself."""
    if not _in_worker() or not tensor.numel() or tensor.is_shared():
        return tensor
    flat = torch.empty(0, dtype=tensor.dtype).set_(_shared_memory(tensor.nbytes))
    return flat.view(tensor.shape).copy_(tensor)


def _in_worker() -> bool:
    return torch.utils.data.get_worker_info() is not None


def _shared_memory(size: int) -> torch.UntypedStorage:
    """Allocate shared memory, where possible outside /dev/shm, which is 64 MB in Docker.

    Raises:
        RuntimeError: There is not enough.
    """
    by_file = torch.multiprocessing.get_sharing_strategy() == "file_descriptor"
    if not size or not by_file or not hasattr(os, "memfd_create"):
        return torch.UntypedStorage._new_shared(size)
    try:
        file = os.memfd_create("kinema", os.MFD_CLOEXEC)
    except OSError:  # a sandbox without the system call
        return torch.UntypedStorage._new_shared(size)
    try:
        os.ftruncate(file, size)
        storage: Any = torch.UntypedStorage
        return storage._new_shared_fd_cpu(file, size)
    finally:
        os.close(file)
