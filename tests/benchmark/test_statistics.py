import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.benchmark.measure.statistics import summarize

TIMES = st.lists(st.floats(1e-4, 1e3), min_size=1, max_size=40)


@given(TIMES)
def test_against_numpy_and_the_standard_library(seconds: list[float]) -> None:
    found = summarize(seconds)
    assert found.mean == pytest.approx(statistics.fmean(seconds))
    assert found.median == pytest.approx(statistics.median(seconds))
    assert found.p95 == pytest.approx(np.quantile(seconds, 0.95))


@given(st.lists(st.tuples(st.floats(1e-4, 1e3), st.integers(1, 5)), min_size=1, max_size=10))
def test_a_weight_counts_as_many_iterations(pairs: list[tuple[float, int]]) -> None:
    written_out = [seconds for seconds, count in pairs for _ in range(count)]
    assert summarize([seconds for seconds, _ in pairs], [count for _, count in pairs]) == summarize(written_out)


def test_nothing_to_sum_up() -> None:
    with pytest.raises(ValueError, match="no iterations"):
        summarize([])
