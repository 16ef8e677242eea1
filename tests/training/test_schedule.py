"""Schedules against torch's own, and by their definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR

from kinema.training import CosineSchedule, StepSchedule
from kinema.training.optimization.schedule import lr_factor


def optimizer() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def torch_rates(scheduler: LRScheduler, epochs: int) -> list[float]:
    rates = []
    for _ in range(epochs):
        rates.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("milestones", [(40, 80), (20, 40), (1,), ()])
def test_steps_fall_where_torchs_do(milestones: tuple[int, ...]) -> None:
    schedule = StepSchedule(epochs=100, milestones=milestones)
    rates = torch_rates(MultiStepLR(optimizer(), list(milestones), gamma=0.1), 100)
    assert [lr_factor(schedule, epoch) for epoch in range(100)] == pytest.approx(rates)


@pytest.mark.parametrize("end", [0.0, 0.01])
def test_cosine_is_torchs(end: float) -> None:
    schedule = CosineSchedule(epochs=256, end=end)
    rates = torch_rates(CosineAnnealingLR(optimizer(), T_max=256, eta_min=end), 256)
    assert [lr_factor(schedule, epoch) for epoch in range(256)] == pytest.approx(rates, rel=1e-6, abs=1e-9)


@given(st.floats(0, 1), st.floats(0.5, 40))
def test_warm_up_is_a_straight_line_that_meets_the_schedule(start: float, warmup: float) -> None:
    schedule = CosineSchedule(epochs=100, warmup_epochs=warmup, warmup_start=start)
    after = lr_factor(CosineSchedule(epochs=100), warmup)
    assert lr_factor(schedule, 0) == pytest.approx(start * after)
    assert lr_factor(schedule, warmup / 2) == pytest.approx((start + 1) / 2 * after)
    assert lr_factor(schedule, warmup) == pytest.approx(after)
