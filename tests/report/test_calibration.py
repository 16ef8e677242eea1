"""Calibration against a plain loop and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

from kinema.report.calibration import calibration


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60),
    st.integers(1, 20),
)
def test_bins_are_those_of_a_plain_loop(predictions: list[tuple[float, bool]], bins: int) -> None:
    result = calibration(np.array([c for c, _ in predictions]), np.array([r for _, r in predictions], bool), bins=bins)
    edges = np.linspace(0, 1, bins + 1)
    error = 0.0
    for b in range(bins):
        inside = [(c, r) for c, r in predictions if (edges[b] < c <= edges[b + 1]) or (b == 0 and c == 0)]
        assert result.count[b] == len(inside)
        if inside:
            confidence, accuracy = np.mean([c for c, _ in inside]), np.mean([r for _, r in inside])
            assert result.confidence[b] == pytest.approx(confidence)
            assert result.accuracy[b] == pytest.approx(accuracy)
            error += len(inside) / len(predictions) * abs(confidence - accuracy)
        else:
            assert math.isnan(result.accuracy[b])
    assert result.error == pytest.approx(error) if predictions else math.isnan(result.error)


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_error_is_that_of_torchmetrics(classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    scores = (3 * torch.randn(500, classes, generator=generator)).softmax(1)
    labels = torch.multinomial(scores.sqrt(), 1, generator=generator)[:, 0]
    own = calibration(scores.amax(1).numpy(), (scores.argmax(1) == labels).numpy(), bins=15)
    expected = multiclass_calibration_error(scores, labels, num_classes=classes, n_bins=15, norm="l1")
    assert own.error == pytest.approx(float(expected), abs=1e-6)


def test_perfect_and_worst() -> None:
    right = np.array([True] * 4)
    assert calibration(np.ones(4), right).error == 0
    assert calibration(np.ones(4), ~right).error == 1
