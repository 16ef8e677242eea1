"""Output, gradient and saved tensors of max pooling, against torch's."""

import pytest
import torch
from torch import Tensor, nn

from kinema.models.pooling import MaxPool2d, MaxPool3d


def both(
    window: tuple[int | tuple[int, ...], ...], shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool
) -> list[tuple[Tensor, Tensor]]:
    """Output and gradient of Kinema's pooling and of torch's, of values with many ties."""
    torch.manual_seed(0)
    memory = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    x = torch.randint(-2, 3, shape).to(dtype)
    x = x.contiguous(memory_format=memory) if channels_last else x
    kinds = (MaxPool2d, nn.MaxPool2d) if len(shape) == 4 else (MaxPool3d, nn.MaxPool3d)
    results = []
    for kind in kinds:
        inner = x.clone().requires_grad_()
        out = kind(*window)(inner)
        torch.manual_seed(1)
        results.append((out, *torch.autograd.grad(out, inner, torch.randn(out.shape).to(dtype))))
    return results


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("window", "shape"),
    [
        ((3, 2, 1), (2, 5, 9, 8)),
        ((3, 2, 1), (1, 5, 200, 190)),  # int32 indices
        ((2,), (2, 3, 6, 6)),
        (((1, 3, 3), (1, 2, 2), (0, 1, 1)), (2, 5, 3, 9, 8)),
        (((1, 3, 3), (2, 2, 2), (0, 1, 1)), (2, 5, 5, 9, 8)),
        (((1, 3, 3), (1, 2, 2), (0, 1, 1)), (2, 5, 1, 9, 8)),  # torch.cat reads the layout from the strides
        (((2, 1, 1),), (2, 5, 7, 6, 5)),
        (((2, 1, 1),), (1, 5, 4, 6, 5)),
        (((1, 3, 3), (1, 2, 2), (0, 1, 1)), (1, 2, 1, 190, 200)),
    ],
)
def test_outputs_and_gradients_are_the_same_bits(
    window: tuple[int | tuple[int, ...], ...], shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool
) -> None:
    (found, slope), (expected, right) = both(window, shape, dtype, channels_last)
    assert torch.equal(found, expected)
    assert torch.equal(slope, right)
    if found.shape[0] > 1:  # of a single image or clip, torch's own layouts differ
        assert found.stride() == expected.stride()


def test_neither_input_nor_int64_indices_are_saved() -> None:
    saved: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    x = torch.randn(2, 4, 16, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        MaxPool2d(3, 2, 1)(x)
    assert [(tensor.dtype, tensor.shape) for tensor in saved] == [(torch.int16, (2, 4, 8, 8))]
