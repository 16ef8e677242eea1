"""Stochastic depth, without torchvision, whose import takes as long as torch's."""

import torch
from torch import Tensor, nn


class StochasticDepth(nn.Module):
    """Drop the residual branch of random clips (Huang et al., 2016, arXiv:1603.09382).

    In training, each clip of `(N, …)` is multiplied by 0 with probability `p`, otherwise by 1 / (1 - p). Draws
    are those of `torchvision.ops.StochasticDepth(p, "row")`.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Branches of some clips; all of them in eval mode."""
        if not self.training or self.p == 0:
            return x
        kept = torch.empty([len(x)] + [1] * (x.dim() - 1), dtype=x.dtype, device=x.device).bernoulli_(1 - self.p)
        return x * kept.div_(1 - self.p)

    def extra_repr(self) -> str:
        """Probability."""
        return f"p={self.p}"
