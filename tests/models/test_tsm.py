"""The temporal shift against a plain loop, and TSM against torchvision's ResNet with that loop in its blocks."""

from functools import partial

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kinema.models.temporal_shift import temporal_shift
from kinema.models.tsm import TSMOptions


def shifted_by_loop(x: Tensor, segments: int, shift_div: int) -> Tensor:
    """The first channels of frame t are those of frame t + 1, the next ones those of frame t - 1."""
    fold = x.shape[1] // shift_div
    out = torch.zeros_like(x)
    for frame in range(len(x)):
        t = frame % segments
        for channel in range(x.shape[1]):
            step = 1 if channel < fold else -1 if channel < 2 * fold else 0
            if 0 <= t + step < segments:
                out[frame, channel] = x[frame + step, channel]
    return out


@given(
    clips=st.integers(1, 3),
    segments=st.integers(1, 9),
    channels=st.integers(1, 20),
    shift_div=st.integers(2, 10),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
@settings(deadline=None)
def test_shift_equals_a_plain_loop(
    clips: int, segments: int, channels: int, shift_div: int, memory_format: torch.memory_format
) -> None:
    x = torch.randn(clips * segments, channels, 2, 3).to(memory_format=memory_format)
    before = x.clone()
    out = temporal_shift(x, segments, shift_div)
    assert torch.equal(out, shifted_by_loop(x, segments, shift_div))
    assert torch.equal(x, before)
    assert out.stride() == x.stride()


@pytest.mark.parametrize("segments", [1, 3])
def test_gradient_of_the_shift_is_its_numerical_one(segments: int) -> None:
    x = torch.randn(6, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    shift = partial(temporal_shift, segments=segments, shift_div=4)
    assert torch.autograd.gradcheck(shift, x)
    assert torch.autograd.gradgradcheck(shift, x)


def test_gradient_keeps_channels_last() -> None:
    x = torch.randn(6, 8, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    temporal_shift(x, 3, 8).backward(torch.randn(6, 8, 4, 4).to(memory_format=torch.channels_last))
    assert x.grad is not None
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("depth", "shift_div"), [(18, 4), (50, 8)])
def test_equals_torchvision_with_looped_shifts(depth: int, shift_div: int) -> None:
    torch.manual_seed(0)
    model = TSMOptions(num_classes=5, depth=depth, shift_div=shift_div, init_std=0.1).build().eval()  # type: ignore[arg-type]
    network = getattr(torchvision.models, f"resnet{depth}")().eval()
    network.fc = nn.Linear(network.fc.in_features, 5)
    model.backbone.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("fc.")})
    model.fc.load_state_dict(network.fc.state_dict())
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            block.conv1.register_forward_pre_hook(lambda _, inputs: shifted_by_loop(inputs[0], 4, shift_div))

    clips = torch.randn(2, 3, 4, 64, 64)
    with torch.inference_mode():
        frames = torch.stack([clip[:, t] for clip in clips for t in range(4)])
        expected = torch.stack([logits.mean(dim=0) for logits in network(frames).split(4)])
        torch.testing.assert_close(model(clips), expected)


@pytest.mark.parametrize(("depth", "shifting"), [(34, 16), (50, 16), (101, 2 + 2 + 12 + 2), (152, 2 + 4 + 18 + 2)])
def test_every_block_shifts_and_every_second_one_in_the_deepest_networks(depth: int, shifting: int) -> None:
    with torch.device("meta"):
        model = TSMOptions(depth=depth).build()  # type: ignore[arg-type]
    shifts = [block.shift is not None for stage in model.backbone.stages for block in stage]
    assert sum(shifts) == shifting
    assert all(stage[0].shift is not None for stage in model.backbone.stages)
