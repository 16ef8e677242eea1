"""Comparison with networks of the package transformers, which take clips as `(N, T, C, H, W)`."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models.foreign import foreign_state_dict


def randomized(network: Any) -> Any:
    """Give every weight and bias a value that shows in the results; seeded."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, mean=float(parameter.dim() == 1) / 2, std=0.2)
    return network.eval()


def check_equal(ours: nn.Module, theirs: Any, clips: Tensor) -> None:
    """Check logits, loss and the gradient of every weight: in float64 nearly exactly, in float32 to 1e-4.

    `ours` has the weights of `theirs`.
    """
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-4)):
        own, other, x = deepcopy(ours).to(dtype), deepcopy(theirs).to(dtype), clips.to(dtype)
        labels = torch.arange(len(x)) % own.head.out_features  # type: ignore[union-attr]
        logits, expected = own(x), other(x.transpose(1, 2)).logits
        assert relative(logits, expected) < tolerance
        losses = [F.cross_entropy(scores, labels) for scores in (logits, expected)]
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=tolerance)
        for loss in losses:
            loss.backward()
        for key, parameter in own.named_parameters():
            assert parameter.grad is not None, key
            parameter.data = parameter.grad
        found = foreign_state_dict(own, source="transformers")
        gradients: Mapping[str, Tensor | None] = {key: p.grad for key, p in other.named_parameters()}
        assert found.keys() == gradients.keys()
        for key, gradient in gradients.items():
            assert gradient is not None, key
            assert relative(found[key], gradient) < tolerance, key


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest expected value."""
    return ((found - expected).abs().max() / expected.abs().max()).item()
