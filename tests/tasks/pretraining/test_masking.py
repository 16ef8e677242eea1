"""Masks by plain loops: tubes, running cells, and the loss over them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.tasks.pretraining.masking import Masking, mask_loss

GRIDS = st.tuples(st.integers(1, 8), st.integers(2, 8), st.integers(2, 8))
SEEDS = st.integers(0, 2**31)


def generators(seed: int, count: int = 3) -> list[torch.Generator | None]:
    return [torch.Generator().manual_seed(seed + number) for number in range(count)]


@given(grid=GRIDS, ratio=st.floats(0.05, 0.95), seed=SEEDS)
def test_tubes_hide_the_same_positions_at_all_times(grid: tuple[int, int, int], ratio: float, seed: int) -> None:
    times, height, width = grid
    hidden = int(ratio * (height * width))  # in this order, as 1/3 of 21 is 7
    if not 0 < hidden < height * width:
        with pytest.raises(UserError, match="mask-ratio"):
            Masking(grid, ratio=ratio)
        return
    masks = Masking(grid, ratio=ratio).draw(generators(seed))
    assert masks.counted.all()
    for visible, decoded in zip(masks.visible.tolist(), masks.decoded.tolist(), strict=True):
        assert visible == sorted(visible)
        assert decoded == sorted(decoded)
        assert sorted(visible + decoded) == list(range(times * height * width))
        frames = [
            {token % (height * width) for token in decoded if token // (height * width) == t} for t in range(times)
        ]
        assert all(frame == frames[0] for frame in frames)
        assert len(frames[0]) == hidden


def test_all_positions_are_hidden_equally_often() -> None:
    masks = Masking((1, 2, 3), ratio=0.5).draw(generators(0, 6000))
    counts = torch.bincount(masks.decoded.flatten(), minlength=6)
    # Binomial, 6,000 draws of probability one half: five standard deviations.
    assert (counts - 3000).abs().max() < 5 * (6000 * 0.25) ** 0.5


@given(times=st.integers(1, 8), half_height=st.integers(1, 4), half_width=st.integers(1, 4), seed=SEEDS)
def test_running_cells(times: int, half_height: int, half_width: int, seed: int) -> None:
    """As the repository draws them: of a queue of two masked and two decoded tokens, the cell shows the next four,
    and moves on by one at each time."""
    height, width = 2 * half_height, 2 * half_width
    masks = Masking((times, height, width), ratio=0.6, running_cell=True).draw(generators(seed))
    queue = [True, True, False, False]
    expected = []
    for start in range(4):
        tokens = []
        for t in range(times):
            cell = [queue[(start + t + place) % 4] for place in range(4)]
            tokens += [
                (t * height + y) * width + x
                for y in range(height)
                for x in range(width)
                if not cell[2 * (y % 2) + x % 2]
            ]
        expected.append(tokens)
    for visible, decoded, counted in zip(
        masks.visible.tolist(), masks.decoded.tolist(), masks.counted.tolist(), strict=True
    ):
        assert decoded in expected
        assert len(decoded) == times * height * width // 2
        assert counted == [token not in visible for token in decoded]


def test_the_loss_is_the_mean_over_hidden_tokens() -> None:
    torch.manual_seed(0)
    pixels, targets = torch.randn(2, 5, 12, dtype=torch.float64), torch.randn(2, 5, 12, dtype=torch.float64)
    counted = torch.tensor([[True, False, True, True, False], [False, True, False, False, False]])
    errors = [
        sum((float(a) - float(b)) ** 2 for a, b in zip(pixels[n, d], targets[n, d], strict=True)) / 12
        for n in range(2)
        for d in range(5)
        if counted[n, d]
    ]
    total, count = mask_loss(pixels, targets, counted)
    assert float(total / count) == pytest.approx(sum(errors) / len(errors), rel=1e-6)


def test_odd_grids_have_no_running_cells() -> None:
    with pytest.raises(UserError, match="found 5 × 5"):
        Masking((8, 5, 5), ratio=0.9, running_cell=True)
