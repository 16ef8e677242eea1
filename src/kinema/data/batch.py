"""What travels from a video to the device: a sample, then a batch of them."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.multiprocessing
from torch import Tensor


@dataclass(frozen=True, slots=True)
class BadFile:
    """A video that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class SampleKey:
    """Key of a sample: row `index` of the dataset, with the randomness of `epoch`.

    variant: Shape of the sample, as the dataset numbers its shapes; 0 where it has only one.
    """

    epoch: int
    index: int
    variant: int = 0


Label = int | tuple[int, ...]
"""What a video shows: one class, or any number of classes."""


@dataclass(slots=True)
class Sample:
    """One video as the model sees it.

    clips: (V, T, C, H, W) uint8 in channels-last memory; V = views, T = frames seen together.
    """

    clips: Tensor
    label: Label
    index: int


@dataclass(slots=True)
class Fetched:
    """What came of one `SampleKey`: a sample (none when no video could be read), and the bad files met on the way."""

    sample: Sample | None
    bad: tuple[BadFile, ...] = ()


@dataclass(slots=True)
class Batch:
    """Samples side by side.

    clips: (B, V, T, C, H, W) uint8 in channels-last memory; B may be 0 in evaluation, when no video of the batch could
        be read.
    labels: (B,) int64; or, where a video may have several, (B, L) int64, each row filled up with -1.
    indices: (B,) int64.
    """

    clips: Tensor
    labels: Tensor
    indices: Tensor
    bad: tuple[BadFile, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def pin_memory(self) -> "Batch":
        """Copy to page-locked memory, from which a device copies without waiting. Called by torch's DataLoader."""
        return Batch(self.clips.pin_memory(), self.labels.pin_memory(), self.indices, self.bad)

    def to(self, device: torch.device) -> "Batch":
        """Move what a model reads to `device`; returns before the copy is done where memory is page-locked."""
        return Batch(copied(self.clips, device), copied(self.labels, device), self.indices, self.bad)


def copied(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; of page-locked memory the copy may go on, and what `device` is told next waits for it.

    To a GPU it has a stream of its own: it need not wait until the step before has been computed.
    """
    if device.type != "cuda" or not tensor.is_pinned():
        return tensor.to(device, non_blocking=True)
    with torch.cuda.stream(_copying(device)):
        there = tensor.to(device, non_blocking=True)
    computing = torch.cuda.current_stream(device)
    computing.wait_stream(_copying(device))
    there.record_stream(computing)  # or its memory would be given away while it is still read
    return there


@cache
def _copying(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)


def room_for(samples: int, shape: Sequence[int]) -> Tensor:
    """Memory for the clips of a batch, (B, V, T, C, H, W) uint8 channels-last, of samples of `shape` (V, T, H, W, C).

    In a loader's worker it is shared with the process that trains: what is written there need not be copied to it.
    """
    size = samples * math.prod(shape)
    memory = _shared_memory(size) if _in_worker() else torch.UntypedStorage(size)
    return torch.empty(0, dtype=torch.uint8).set_(memory).view(samples, *shape).movedim(-1, 3)


def shared(tensor: Tensor) -> Tensor:
    """A tensor in memory as `room_for` gives it, which a loader's worker can hand over; elsewhere the tensor itself."""
    if not _in_worker() or not tensor.numel() or tensor.is_shared():
        return tensor
    flat = torch.empty(0, dtype=tensor.dtype).set_(_shared_memory(tensor.nbytes))
    return flat.view(tensor.shape).copy_(tensor)


def _in_worker() -> bool:
    return torch.utils.data.get_worker_info() is not None


def _shared_memory(size: int) -> torch.UntypedStorage:
    """Memory that another process may be given; where the system has it, not of /dev/shm, which is 64 MB in Docker.

    Raises:
        RuntimeError: there is not enough.
    """
    by_file = torch.multiprocessing.get_sharing_strategy() == "file_descriptor"
    if not size or not by_file or not hasattr(os, "memfd_create"):
        return torch.UntypedStorage._new_shared(size)
    try:
        file = os.memfd_create("kinema", os.MFD_CLOEXEC)
    except OSError:  # a sandbox that does not know it
        return torch.UntypedStorage._new_shared(size)
    try:
        os.ftruncate(file, size)
        storage: Any = torch.UntypedStorage
        return storage._new_shared_fd_cpu(file, size)
    finally:
        os.close(file)


def collate(fetched: Sequence[Fetched], room: Tensor | None = None) -> Batch:
    """Samples of equal shape as a batch, in channels-last memory.

    `room` (see `room_for`) holds the clips already, those of good samples first, one after the other; None: they are
    copied together.
    """
    samples = [one.sample for one in fetched if one.sample is not None]
    return Batch(
        clips=_stack([sample.clips for sample in samples]) if room is None else room[: len(samples)],
        labels=shared(_labels([sample.label for sample in samples])),
        indices=shared(torch.tensor([sample.index for sample in samples], dtype=torch.int64)),
        bad=tuple(file for one in fetched for file in one.bad),
    )


def _labels(labels: Sequence[Label]) -> Tensor:
    most = max((len(one) for one in labels if isinstance(one, tuple)), default=0)
    rows = [[*one, *[-1] * (most - len(one))] if isinstance(one, tuple) else one for one in labels]
    return torch.tensor(rows, dtype=torch.int64)


def _stack(clips: list[Tensor]) -> Tensor:
    """(V, T, C, H, W) each → (B, V, T, C, H, W); `torch.stack` would give up the channels-last memory."""
    if not clips:
        return torch.empty((0, 1, 1, 3, 1, 1), dtype=torch.uint8)
    return torch.stack([clip.movedim(2, -1) for clip in clips]).movedim(-1, 3)
