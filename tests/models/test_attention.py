"""Attention in bfloat16 on a CPU: short sequences by products, long ones by torch."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kinema.models.transformer import attend


def with_gradients(
    attention: Callable[..., Tensor], parts: Tensor, of_output: Tensor, dtype: torch.dtype
) -> list[Tensor]:
    """Return the output `(N, L, heads · d)` and the gradients of queries, keys and values in float64."""
    q, k, v = (part.to(dtype).requires_grad_() for part in parts)
    out = attention(q, k, v)
    return [each.double() for each in (out, *torch.autograd.grad(out, (q, k, v), of_output.to(dtype)))]


def by_formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax(q kᵀ / √d) v."""
    weights = (torch.einsum("nhqd,nhkd->nhqk", q, k) / q.shape[3] ** 0.5).exp()
    out = torch.einsum("nhqk,nhkd->nqhd", weights / weights.sum(3, keepdim=True), v)
    return out.flatten(2)


@pytest.mark.parametrize("tokens", [1, 8, 197, 224, 225])
def test_bfloat16_is_as_near_to_the_formula_as_torchs_attention(tokens: int) -> None:
    torch.manual_seed(tokens)
    parts = torch.randn(3, 2, 3, tokens, 16).bfloat16().double()
    of_output = torch.randn(2, tokens, 48).bfloat16().double()
    exact = with_gradients(by_formula, parts, of_output, torch.float64)
    found = with_gradients(attend, parts, of_output, torch.bfloat16)

    def by_torch(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)

    torchs = with_gradients(by_torch, parts, of_output, torch.bfloat16)
    for own, other, right in zip(found, torchs, exact, strict=True):
        # One rounding of the result at least, 2⁻⁹ of it; weights and their gradients are rounded once more.
        assert (own - right).norm() <= 1.5 * (other - right).norm() + 2**-8 * right.norm()


def test_in_float32_and_without_gradients_it_is_torchs() -> None:
    q, k, v = torch.randn(3, 2, 3, 8, 16)
    expected = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    assert torch.equal(attend(q, k, v), expected)
    with torch.no_grad():
        low = F.scaled_dot_product_attention(*(each.bfloat16() for each in (q, k, v))).transpose(1, 2).flatten(2)
        assert torch.equal(attend(q.bfloat16(), k.bfloat16(), v.bfloat16()), low)
