"""Attentive probe: a small transformer that pools tokens of any encoder (Assran et al., 2025, arXiv:2506.09985)."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kinema.models.transformer import MLP, Attention, Block, attend, init_weights


class AttentiveProbe(nn.Module):
    """Self-attention blocks, then cross-attention of one learned query: `(N, L, width)` → `(N, width)`."""

    def __init__(self, width: int, *, depth: int, heads: int, eps: float, gradient_checkpointing: bool = False) -> None:
        """Initialize the weights.

        Args:
            width: channels of the tokens.
            depth: number of self-attention blocks before the cross-attention.
            heads: attention heads of every block, which share the channels.
            eps: epsilon of the layer norms.
            gradient_checkpointing: recompute the activations of each self-attention block in the backward pass.
        """
        super().__init__()
        self.gradient_checkpointing = gradient_checkpointing
        self.blocks = nn.ModuleList(
            Block(Attention(width, heads), width=width, hidden=4 * width, drop_path=0.0, eps=eps) for _ in range(depth)
        )
        self.query_tokens = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02))
        self.cross = CrossBlock(width, heads=heads, eps=eps)
        self.apply(init_weights)
        scale_residuals(self.blocks)
        with torch.no_grad():
            self.cross.mlp.fc2.weight /= math.sqrt(2 * max(depth, 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return what the query gathers from the tokens."""
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        for block in self.blocks:
            tokens = checkpoint(block, tokens, use_reentrant=False) if recompute else block(tokens)
        out: Tensor = self.cross(self.query_tokens.repeat(tokens.shape[0], 1, 1), tokens)
        return out.squeeze(1)


class CrossBlock(nn.Module):
    """Cross-attention and MLP beside shortcuts: queries `(N, Q, width)`, tokens `(N, L, width)` → `(N, Q, width)`.

    The queries enter the attention without a norm, and its output is not projected.
    """

    def __init__(self, width: int, *, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, 4 * width)

    def forward(self, queries: Tensor, tokens: Tensor) -> Tensor:
        """Gather from the tokens."""
        q = self.q(queries).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(self.norm1(tokens)).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        queries = queries + attend(q, k, v)
        return queries + self.mlp(self.norm2(queries))


@torch.no_grad()
def scale_residuals(blocks: Iterable[Any]) -> None:
    """Divide the last weights of the i-th block's branches by √(2 i), i from 1 (Bao et al., 2022, section 2.5)."""
    for number, block in enumerate(blocks, 1):
        for layer in (block.attn.proj, block.mlp.fc2):
            layer.weight /= math.sqrt(2 * number)
