"""Comparison of an exported network with the original."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from kinema.console import Meter
from kinema.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How nearly two networks agree."""

    samples: int
    """Clips or videos that were compared."""
    max_error: float
    """Largest absolute difference of a score."""
    max_output_error: float
    """Largest difference of an output, relative to the largest output of the sample where that is above 1."""
    top1_equal: int
    """Samples whose best score has the same index, or differs by less than the tolerance from that."""


def compare(
    original: Callable[..., Any],
    exported: Callable[..., Any],
    samples: Iterable[tuple[Tensor, ...]],
    *,
    scores: Callable[[Any], Tensor],
    tolerance: float,
    meter: Meter,
) -> Agreement:
    """Compare two networks on batches of inputs.

    Args:
        original: the network.
        exported: the same from a file.
        samples: batches of inputs, of any size.
        scores: scores (N, K) in an output.
        tolerance: of scores.
        meter: advanced by 1 for each batch.
    """
    count, error, output_error, equal = 0, 0.0, 0.0, 0
    for inputs in samples:
        with torch.no_grad():
            expected, actual = original(*inputs), exported(*inputs)
        for one, other in zip(_pytree.tree_leaves(expected), _pytree.tree_leaves(actual), strict=True):
            difference = (one.float() - other.float()).abs().max().item() if one.numel() else 0.0
            output_error = max(output_error, difference / max(1.0, one.float().abs().max().item()))
        expected, actual = scores(expected), scores(actual)
        error = max(error, (expected - actual).abs().max().item())
        best = expected.gather(1, actual.argmax(1, keepdim=True))[:, 0]
        equal += int((expected.amax(1) - best <= tolerance).sum())
        count += len(expected)
        meter.advance()
    return Agreement(samples=count, max_error=error, max_output_error=output_error, top1_equal=equal)


def check_agreement(agreement: Agreement, *, tolerance: float) -> None:
    """Check that scores agree.

    Raises:
        UserError: they differ by more than `tolerance`, or the best class of a sample differs.
    """
    if not agreement.max_error <= tolerance or agreement.top1_equal < agreement.samples:  # NaN is not below either
        raise UserError(
            f"the exported network differs from the model: scores by up to {agreement.max_error:.2g} (at most "
            f"{tolerance:g} is accepted), top-1 equal for {agreement.top1_equal} of {agreement.samples} samples; "
            "nothing is written. --tolerance accepts more"
        )
