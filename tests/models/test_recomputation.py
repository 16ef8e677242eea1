"""What is computed again instead of being kept: the same bits, and the memory is given back."""

import struct
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import TensorWeakRef

from kinema.models import RecognizerOptions, recomputation
from kinema.models.i3d import I3DOptions
from kinema.models.normalization import norm_relu
from kinema.models.recomputation import can_be_recomputed, recomputed
from kinema.models.resnet import ResNet
from kinema.models.resnet3d import ResNet3d
from kinema.models.tsn import TSNOptions

Bits = list[Tensor]


def gradients(network: nn.Module, x: Tensor) -> Bits:
    network.zero_grad()
    out = network(x)
    out.sin().sum().backward()
    return [out.detach(), *(parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (ResNet, TSNOptions),
        (partial(ResNet3d, conv1_kernel_t=1, inflate="late"), I3DOptions),
        (partial(ResNet3d, inflate="all"), I3DOptions),
    ],
)
def test_outputs_and_gradients_are_the_same_bits(
    kind: Callable[..., nn.Module],
    options: Callable[..., RecognizerOptions],
    depth: int,
    checkpointed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    network = kind(options(depth=depth, width=8, gradient_checkpointing=checkpointed)).train()
    shape = (2, 3, 32, 32) if isinstance(network, ResNet) else (2, 3, 8, 32, 32)
    last = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    x = torch.randn(shape).contiguous(memory_format=last)
    found = gradients(network, x)
    monkeypatch.setattr(recomputation, "_pack", lambda kept: kept)
    expected = gradients(network, x)
    assert len(found) > 20
    assert all(map(torch.equal, found, expected))


class Two(nn.Module):
    """Convolution, batch norm, ReLU, and another convolution, whose input is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 4, 3)
        self.between: TensorWeakRef | None = None

    def plain(self, x: Tensor) -> Tensor:
        between = norm_relu(self.norm, self.first(x))
        self.between = TensorWeakRef(between)
        out: Tensor = self.second(between)
        return out

    lean = recomputed(plain)


def test_the_output_between_is_given_back() -> None:
    x = torch.randn(2, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    network, kept = Two(), list[bool]()
    for forward in (network.plain, network.lean):
        out = forward(x)
        assert network.between is not None
        kept.append(network.between() is not None)
        out.sum().backward()
    assert kept == [True, False]


def twice(x: Tensor) -> Tensor:
    return x * 2


@pytest.mark.parametrize("view", [lambda y: y, lambda y: y.flatten(), lambda y: y.movedim(0, 1)])
def test_views_of_all_values_are_computed_again_parts_are_kept(view: Callable[[Tensor], Tensor]) -> None:
    asked: list[int] = []

    @recomputed
    def forward(x: Tensor, part: slice) -> Tensor:
        y = twice(x)
        can_be_recomputed(y, lambda: asked.append(1) or twice(x.detach()))  # type: ignore[func-returns-value]
        return (view(y)[part] ** 3).sum()

    x = torch.arange(12.0).reshape(3, 4).requires_grad_()
    (found,) = torch.autograd.grad(forward(x, slice(None)), x)
    assert torch.equal(found, 24 * x.detach() ** 2)
    assert asked == [1]
    torch.autograd.grad(forward(x, slice(0, 2)), x)
    assert asked == [1]


def test_what_changed_since_or_lies_where_another_was_is_kept() -> None:
    wrong = partial(torch.full, (3, 4), torch.nan)

    @recomputed
    def changed(x: Tensor) -> Tensor:
        y = twice(x)
        can_be_recomputed(y, wrong)
        y += 1
        return (y**3).sum()

    @recomputed
    def replaced(x: Tensor) -> Tensor:
        y = torch.frombuffer(memory, dtype=torch.float32).view(3, 4)
        can_be_recomputed(y, wrong)
        del y
        other = torch.frombuffer(memory, dtype=torch.float32).view(3, 4)
        return (other * x).sum()

    memory = bytearray(struct.pack("<12f", *range(12)))
    x = torch.ones(3, 4, requires_grad=True)
    assert torch.equal(torch.autograd.grad(changed(x), x)[0], torch.full((3, 4), 54.0))
    assert torch.equal(torch.autograd.grad(replaced(x), x)[0], torch.arange(12.0).view(3, 4))


def test_nothing_of_a_checkpointed_block_outlives_it() -> None:
    network = ResNet(TSNOptions(depth=18, width=8, gradient_checkpointing=True)).train()
    memory, gone = list[StorageWeakRef](), list[bool]()
    network.layer1[0].conv1.register_forward_hook(
        lambda *given: memory.append(StorageWeakRef(given[-1].untyped_storage()))
    )
    network.layer2[0].register_forward_pre_hook(lambda *_: gone.append(memory[0].expired()))
    network(torch.randn(2, 3, 32, 32).contiguous(memory_format=torch.channels_last))
    assert gone == [True]


def test_an_exported_network_is_left_alone() -> None:
    network = ResNet(TSNOptions(depth=18, width=8)).eval()
    x = torch.randn(1, 3, 32, 32)
    exported = torch.export.export(network, (x,)).module()
    torch.testing.assert_close(exported(x), network(x))
