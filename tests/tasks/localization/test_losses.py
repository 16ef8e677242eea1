"""The losses of BSN and BMN against their formulas, written plainly."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kinema.models.bmn import BMNOutput
from kinema.models.bsn import TEMOutput
from kinema.tasks.localization.bmn import BMNLabels, BMNLossOptions, bmn_loss
from kinema.tasks.localization.bsn.pem import PEMLossOptions, pem_loss
from kinema.tasks.localization.bsn.tem import TEMLabels, TEMLossOptions, tem_loss
from kinema.tasks.localization.losses import sampled_by_overlap

seeds = st.integers(0, 2**31)


def weighted_bce(pairs: list[tuple[float, bool]], *, of_map: bool = False) -> float:
    """Of (probability, is positive): both sides weigh the same.

    At least 1 positive is counted; in the map's loss, as the papers' code has it, among the entries, too.
    """
    found = sum(positive for _, positive in pairs)
    positives = max(found, 1)
    entries = len(pairs) - found + positives if of_map else len(pairs)
    ratio = min(max(entries / positives, 1.05), 21)
    total = 0.0
    for probability, positive in pairs:
        if positive:
            total += 0.5 * ratio * math.log(probability + 1e-5)
        else:
            total += 0.5 * ratio / (ratio - 1) * math.log(1 - probability + 1e-5)
    return -total / entries


def pairs(probability: Tensor, label: Tensor, threshold: float) -> list[tuple[float, bool]]:
    labels = (label > threshold).flatten().tolist()
    return list(zip(probability.flatten().tolist(), labels, strict=True))


@given(seed=seeds, low=st.floats(0, 0.9))
@settings(max_examples=20, deadline=None)
def test_tem(seed: int, low: float) -> None:
    torch.manual_seed(seed)
    output = TEMOutput(*torch.rand(3, 2, 20))
    labels = TEMLabels(*(torch.rand(3, 2, 20) - low).clamp(min=0))
    found = tem_loss(output, labels, TEMLossOptions())
    action, start, end = (weighted_bce(pairs(p, y, 0.5)) for p, y in zip(output, labels, strict=True))
    assert [loss.item() for loss in found[1:]] == pytest.approx([2 * action, start, end], rel=1e-5)
    assert found.total.item() == pytest.approx(2 * action + start + end, rel=1e-5)


@given(seed=seeds, scale=st.sampled_from([0.2, 0.75, 1.0]))
@settings(max_examples=20, deadline=None)
def test_bmn(seed: int, scale: float) -> None:
    parts = 9
    torch.manual_seed(seed)
    output = BMNOutput(torch.rand(2, 2, parts, parts), *torch.rand(2, 2, parts))
    labels = BMNLabels(torch.rand(2, parts, parts) * scale, *torch.rand(2, 2, parts))
    exists = [(v, d, s) for v in range(2) for d in range(parts) for s in range(parts) if d + s < parts]
    overlaps = torch.zeros(2, parts, parts)
    for cell in exists:
        overlaps[cell] = labels.confidence[cell]

    torch.manual_seed(0)
    middle_draw, low_draw = torch.rand_like(overlaps), torch.rand_like(overlaps)
    high = [cell for cell in exists if overlaps[cell] > 0.7]
    middle = [cell for cell in exists if 0.3 < overlaps[cell] <= 0.7]
    low = [cell for cell in exists if 0 < overlaps[cell] <= 0.3]
    taken = list(high)
    for group, draw in ((middle, middle_draw), (low, low_draw)):
        share = min(len(high) / max(len(group), 1), 1.0)
        taken += [cell for cell in group if draw[cell] > 1 - share]
    errors = [(output.confidence[v, 0, d, s] - overlaps[v, d, s]).item() ** 2 for v, d, s in taken]
    regression = 0.5 * sum(errors) / max(len(taken), 1)
    confident = [(output.confidence[v, 1, d, s].item(), bool(overlaps[v, d, s] > 0.9)) for v, d, s in exists]
    classification = weighted_bce(confident, of_map=True)
    boundary = sum(weighted_bce(pairs(p, y, 0.5)) for p, y in ((output.start, labels.start), (output.end, labels.end)))

    torch.manual_seed(0)
    found = bmn_loss(output, labels, BMNLossOptions())
    expected = [boundary + 10 * regression + classification, boundary, regression, classification]
    assert [loss.item() for loss in found] == pytest.approx(expected, rel=2e-5, abs=1e-7)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_pem_is_the_mean_over_what_is_taken(seed: int) -> None:
    """The sampling weights each proposal, as the paper has it; a mean before the weights would make them idle."""
    torch.manual_seed(seed)
    predicted, overlap = torch.rand(2, 200)
    torch.manual_seed(0)
    draws = torch.rand_like(overlap), torch.rand_like(overlap)
    high = overlap > 0.6
    groups = ((overlap > 0.2) & ~high, overlap <= 0.2)
    taken = high.clone()
    for group, draw, ratio in zip(groups, draws, (1.0, 2.0), strict=True):
        share = min(ratio * high.sum().item() / max(group.sum().item(), 1), 1.0)
        taken |= group & (draw > 1 - share)
    errors = [0.5 * (p - t) ** 2 for p, t in zip(predicted[taken].tolist(), overlap[taken].tolist(), strict=True)]
    torch.manual_seed(0)
    found = pem_loss(predicted, overlap, PEMLossOptions())
    assert found.item() == pytest.approx(sum(errors) / max(len(errors), 1), rel=1e-5)


def test_as_many_are_drawn_as_the_ratios_say() -> None:
    overlap = torch.cat([torch.full((500,), 0.9), torch.full((5000,), 0.5), torch.full((5000,), 0.1)])
    torch.manual_seed(0)
    taken = sampled_by_overlap(overlap, high=0.6, low=0.2, ratios=(1, 2))
    assert taken[:500].all()
    # A binomial's deviation is 21 and 28 here.
    assert taken[500:5500].sum().item() == pytest.approx(500, abs=110)
    assert taken[5500:].sum().item() == pytest.approx(1000, abs=140)


def test_nothing_to_learn_is_no_loss_but_finite() -> None:
    nothing = torch.zeros(1, 8, 8)
    output = BMNOutput(torch.full((1, 2, 8, 8), 0.5, requires_grad=True), torch.full((1, 8), 0.5), torch.zeros(1, 8))
    losses = bmn_loss(output, BMNLabels(nothing, nothing[0, :1], nothing[0, :1]), BMNLossOptions())
    assert losses.regression.item() == 0
    assert all(loss.isfinite() for loss in losses)
    assert pem_loss(torch.rand(4), torch.zeros(4), PEMLossOptions()).item() == 0
