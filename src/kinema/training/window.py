"""Averages over the steps since the last row of `metrics.jsonl`, accumulated without synchronizing the device."""

import time

import torch

from kinema.errors import TrainingDiverged
from kinema.runtime.memory import peak_resident_gib
from kinema.training.parallel.distributed import mean_over_processes
from kinema.training.task import Loss


class Window:
    """Sums over steps, of which `close` returns the means."""

    def __init__(self, device: torch.device, *, batches_per_step: int) -> None:
        self._device, self._batches_per_step = device, batches_per_step
        self._open()

    def _open(self) -> None:
        self._started = time.perf_counter()
        self._waited = 0.0
        self.batches = 0
        self._names: tuple[str, ...] = ()
        self._sums = torch.zeros(1, dtype=torch.float64, device=self._device)

    def state(self) -> tuple[float, int, torch.Tensor]:
        """Return the current sums, for `restore`."""
        return self._waited, self.batches, self._sums

    def restore(self, state: tuple[float, int, torch.Tensor]) -> None:
        """Restore the sums returned by `state`."""
        self._waited, self.batches, self._sums = state

    def add_wait(self, since: float) -> None:
        """Add the time from `since` (of `time.perf_counter`) until now to the time waited for data."""
        self._waited += time.perf_counter() - since

    def add(self, loss: Loss) -> None:
        """Add the loss of a batch."""
        self.batches += 1
        self._names = ("loss", *loss.figures)
        self._sums = self._sums + torch.stack([each.detach().double() for each in (loss.total, *loss.figures.values())])

    def exclude_since(self, since: float) -> None:
        """Exclude the time from `since` until now, such as a validation, from the step time."""
        self._started += time.perf_counter() - since

    def close(self) -> dict[str, float]:
        """Return means over all processes of the steps since the last call, times in seconds per step. Collective.

        Raises:
            TrainingDiverged: the loss is not finite.
        """
        means = [each / self.batches for each in mean_over_processes(self._sums).tolist()]
        if not means[0] < float("inf"):
            raise TrainingDiverged(
                f"training diverged: the loss is {means[0]}; pass a lower --optim.lr, or --optim.clip-norm"
            )
        steps = self.batches / self._batches_per_step
        row = {
            **dict(zip(self._names, means, strict=True)),
            "step_time": (time.perf_counter() - self._started) / steps,
            "data_time": self._waited / steps,
            "memory_gib": self._memory_gib(),
        }
        self._open()
        return row

    def _memory_gib(self) -> float:
        """Return the peak memory: allocated by torch on a GPU, or resident in the process on a CPU."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**30
        return peak_resident_gib()
