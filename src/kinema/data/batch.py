"""Batches, their memory, and their way to the device."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

import torch
import torch.multiprocessing
from torch import Tensor
from torch.utils._pytree import tree_map

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BadFile:
    """A file that could not be read, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class Batch(Generic[T]):
    """Inputs and targets of some samples.

    inputs: What the network reads; of videos (B, V, T, C, H, W) uint8 in channels-last memory.
    targets: What the loss compares with: tensors, alone or in tuples or dictionaries. Labels are (B,) int64 or, where a
        video may have any number L of them, (B, L) int64, padded with -1.
    rows: (B,) int64, rows of the dataset. B may be 0, when no file could be read: `inputs` are empty then.
    bad: Files that could not be read.
    """

    inputs: Tensor
    targets: T
    rows: Tensor
    bad: tuple[BadFile, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def pin_memory(self) -> "Batch[T]":
        """Copy to page-locked memory, from which a device copies asynchronously. Called by torch's DataLoader."""
        return Batch(self.inputs.pin_memory(), map_tensors(Tensor.pin_memory, self.targets), self.rows, self.bad)

    def to(self, device: torch.device) -> "Batch[T]":
        """Move inputs and targets to `device`, asynchronously where they are in page-locked memory."""

        def copy(tensor: Tensor) -> Tensor:
            return copy_to(tensor, device)

        return Batch(copy(self.inputs), map_tensors(copy, self.targets), self.rows, self.bad)


def map_tensors(function: Callable[[Tensor], Tensor], tensors: T) -> T:
    """Apply a function to a tensor, or to those of tuples, lists and dictionaries."""
    mapped: T = tree_map(function, tensors)
    return mapped


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
