"""Clips of concurrent requests, computed in batches."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class _Item:
    views: Tensor
    result: "Future[Tensor]" = field(default_factory=Future)


class Batches:
    """A thread that scores clips which wait at the same time together.

    Args:
        compute: returns scores (B, classes) of clips (B, V, T, C, H, W) uint8.
        most: clips of a batch.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], *, most: int) -> None:
        self._compute, self._most = compute, most
        self._waiting = queue.Queue[_Item | None]()
        self.sizes: dict[int, int] = {}
        """Number of batches of each size so far."""
        self._thread = threading.Thread(target=self._run, name="kinema-batches", daemon=True)
        self._thread.start()

    def scores(self, clips: Tensor) -> Tensor:
        """Return the scores (B, classes) of clips (B, V, T, C, H, W), which may share batches with those of others.

        Raises what `compute` raises.
        """
        items = [_Item(views) for views in clips]
        for item in items:
            self._waiting.put(item)
        return torch.stack([item.result.result() for item in items])

    def close(self) -> None:
        """End the thread when all that waits is computed."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        following: _Item | None = None
        while (first := following or self._waiting.get()) is not None:
            following, batch, ended = None, [first], False
            while len(batch) < self._most and following is None:
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    ended = True
                    break
                if item.views.shape == first.views.shape:
                    batch.append(item)
                else:
                    following = item
            self._answer(batch)
            if ended:
                return

    def _answer(self, batch: list[_Item]) -> None:
        self.sizes[len(batch)] = self.sizes.get(len(batch), 0) + 1
        try:
            scores = self._compute(torch.stack([item.views for item in batch]))
        except Exception as error:
            for item in batch:
                item.result.set_exception(error)
        else:
            for item, row in zip(batch, scores, strict=True):
                item.result.set_result(row)
