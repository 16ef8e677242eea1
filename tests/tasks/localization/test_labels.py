"""What BMN and TEM learn, against plain loops and the references' numbers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.tasks.localization.bmn import bmn_labels
from kinema.tasks.localization.bsn.tem import tem_labels
from tests.tasks.localization.plain_loops import overlap

Segment = tuple[float, float]

videos = st.lists(
    st.lists(
        st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted).map(lambda pair: (pair[0], pair[1] + 0.01)), max_size=4
    ),
    min_size=1,
    max_size=3,
)


def share(stretch: Segment, other: Segment) -> float:
    return max(min(stretch[1], other[1]) - max(stretch[0], other[0]), 0.0) / (stretch[1] - stretch[0])


def around(middle: float, length: float) -> Segment:
    return middle - length / 2, middle + length / 2


def as_arrays(instances: list[list[Segment]]) -> list[np.ndarray]:
    return [np.array(each).reshape(-1, 2) for each in instances]


@given(instances=videos, parts=st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_bmn_labels_equal_plain_loops(instances: list[list[Segment]], parts: int) -> None:
    found = bmn_labels(as_arrays(instances), parts=parts)
    for video, each in enumerate(instances):
        for part in range(parts):
            surroundings = ((part - 0.5) / parts, (part + 1.5) / parts)
            for side, curve in enumerate((found.start, found.end)):
                best = max((share(surroundings, around(one[side], 3 / parts)) for one in each), default=0)
                assert curve[video, part].item() == pytest.approx(best, abs=1e-6)
            for duration in range(parts):
                segment = (part / parts, (part + duration + 1) / parts)
                best = max((overlap(segment, one) for one in each), default=0)
                assert found.confidence[video, duration, part].item() == pytest.approx(best, abs=1e-6)


@given(instances=videos, parts=st.integers(1, 30))
@settings(max_examples=25, deadline=None)
def test_tem_labels_equal_plain_loops(instances: list[list[Segment]], parts: int) -> None:
    found = tem_labels(as_arrays(instances), parts=parts)
    for video, each in enumerate(instances):
        for part in range(parts):
            own = (part / parts, (part + 1) / parts)
            reach = [max(1 / parts, 0.1 * (end - start)) for start, end in each]
            wanted = (
                [share(own, one) for one in each],
                [share(own, around(one[0], length)) for one, length in zip(each, reach, strict=True)],
                [share(own, around(one[1], length)) for one, length in zip(each, reach, strict=True)],
            )
            for curve, shares in zip(found, wanted, strict=True):
                assert curve[video, part].item() == pytest.approx(max(shares, default=0), abs=1e-6)


def test_the_references_numbers(shared: Path) -> None:
    numbers = np.load(shared / "parity" / "numbers" / "localizer_labels.npz")
    instances = [numbers[f"gt__{k}"] for k in range(8)]
    ours = bmn_labels(instances)
    for name, value in ours._asdict().items():
        np.testing.assert_allclose(value, numbers[f"bmn__{name}"], atol=1e-6, err_msg=name)
    for place, value in enumerate(tem_labels(instances)):
        np.testing.assert_allclose(value, numbers[f"tem__{place}"], atol=1e-6, err_msg=f"tem__{place}")
