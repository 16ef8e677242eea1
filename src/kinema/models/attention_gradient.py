"""Watching of attention layers in a backward pass, for explanations by gradient-weighted attention."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

_PRODUCTS = 1 << 22  # weights of attention that are computed at once: 16 MiB


@dataclass(frozen=True, kw_only=True)
class AttentionGradient:
    """An attention layer in the backward pass of a class score.

    Its weights A and their gradient ∇A are not stored, but computed for some queries at a time.

    Attributes:
        q: Queries `(N, heads, queries, d)`.
        k: Keys `(N, heads, keys, d)`.
        v: Values `(N, heads, keys, d)`.
        gradient: Gradient of the score with respect to the layer's outputs, `(N, heads, queries, d)`.
        scale: Factor on the products of queries and keys.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    gradient: Tensor
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """Sequences and queries of each."""
        return self.q.shape[0], self.q.shape[2]

    @torch.no_grad()
    def pass_on(self, relevance: Tensor) -> Tensor:
        """Return the relevance of keys that queries of a given relevance have attended to: r Ā.

        Ā is the mean over heads of max(∇A ⊙ A, 0) (Chefer et al., 2021, arXiv:2103.15679, equation 5).

        Args:
            relevance: r, `(N, queries)`.

        Returns:
            `(N, keys)`.
        """
        sequences, heads, queries, _ = self.q.shape
        keys, values = self.k.transpose(2, 3), self.v.transpose(2, 3)
        rows = max(1, _PRODUCTS // (sequences * heads * keys.shape[3]))
        total = self.k.new_zeros(sequences, keys.shape[3], dtype=torch.float32)
        for start in range(0, queries, rows):
            part = slice(start, start + rows)
            weights = (self.q[:, :, part] * self.scale @ keys).softmax(dim=3)
            positive = (self.gradient[:, :, part] @ values).mul_(weights).clamp_(min=0)
            total += torch.einsum("nq,nhqk->nk", relevance[:, part].float(), positive.float())
        return total / heads


Watch = Callable[[AttentionGradient], None]

_watches: list[Watch] = []


@contextmanager
def watched_attention(watch: Watch) -> Iterator[None]:
    """Watch the attention computed in the block by `kinema.models.transformer.attend`.

    Args:
        watch: Called in a backward pass in the block for each attention, the last of the forward pass first.
    """
    _watches.append(watch)
    try:
        yield
    finally:
        _watches.remove(watch)


def is_watched() -> bool:
    """Return whether attention is watched."""
    return bool(_watches)


def watch_attention(q: Tensor, k: Tensor, v: Tensor, out: Tensor, scale: float) -> None:
    """Pass an attention of outputs `out` to who watches, in the backward pass, if there is one."""
    if not out.requires_grad:
        return
    watch, parts = _watches[-1], (q.detach(), k.detach(), v.detach())

    def on_gradient(gradient: Tensor) -> None:
        watch(AttentionGradient(q=parts[0], k=parts[1], v=parts[2], gradient=gradient, scale=scale))

    out.register_hook(on_gradient)
