"""Stochastic depth, without torchvision, whose import takes as long as torch's."""

import torch
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Drop the residual branch of random clips (Huang et al., 2016, arXiv:1603.09382).

    In training, each clip of `(N, …)` is multiplied by 0 with probability `rate`, otherwise by 1 / (1 - rate). Draws
    are those of `torchvision.ops.StochasticDepth(rate, "row")`.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Branches of some clips; all of them in eval mode."""
        if not self.training or self.rate == 0:
            return x
        kept = torch.empty([len(x)] + [1] * (x.dim() - 1), dtype=x.dtype, device=x.device).bernoulli_(1 - self.rate)
        return x * kept.div_(1 - self.rate)

    def extra_repr(self) -> str:
        """Probability."""
        return f"rate={self.rate}"
