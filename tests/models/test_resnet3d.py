"""The 3D ResNet: where it reaches over time, how it shrinks clips, what it keeps, what it inherits from 2D."""

from copy import deepcopy
from math import ceil
from typing import Any, get_args

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from kinema.models.backbone import Backbone, Depth
from kinema.models.i3d import I3DOptions
from kinema.models.pretrained import fill_from_2d
from kinema.models.r2plus1d import R2Plus1DOptions
from kinema.models.resnet3d import Inflate, InflateStyle, ResNet3d
from kinema.models.slowfast import SlowFastOptions
from kinema.models.slowonly import SlowOnlyOptions

BACKBONES = {
    "i3d": lambda **options: I3DOptions(depth=18, **options).build().backbone,
    "i3d_non_local": lambda **options: I3DOptions(depth=18, non_local="dot_product", **options).build().backbone,
    "slowonly": lambda **options: SlowOnlyOptions(depth=18, **options).build().backbone,
    "slowfast": lambda **options: SlowFastOptions(depth=18, lateral_norm=True, **options).build().backbone,
    "r2plus1d": lambda **options: R2Plus1DOptions(depth=18, **options).build().backbone,
}


def time_kernels(inflate: Inflate, style: InflateStyle, conv: str) -> list[list[int]]:
    network = ResNet3d(I3DOptions(depth=50, width=2), inflate=inflate, inflate_style=style)
    return [[getattr(block, conv).kernel_size[0] for block in stage] for stage in network.stages]


@pytest.mark.parametrize(
    ("inflate", "expected"),
    [
        ("all", [[3] * 3, [3] * 4, [3] * 6, [3] * 3]),
        ("alternate", [[3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]]),
        ("late", [[1] * 3, [1] * 4, [3] * 6, [3] * 3]),
        ("early", [[3] * 3, [1] * 4, [1] * 6, [1] * 3]),
    ],
)
def test_which_blocks_reach_over_time(inflate: Inflate, expected: list[list[int]]) -> None:
    ones = [[1] * len(stage) for stage in expected]
    assert [time_kernels(inflate, "3x1x1", conv) for conv in ("conv1", "conv2", "conv3")] == [expected, ones, ones]
    assert [time_kernels(inflate, "3x3x3", conv) for conv in ("conv1", "conv2", "conv3")] == [ones, expected, ones]


@given(
    frames=st.integers(5, 20),
    height=st.integers(17, 70),
    width=st.integers(17, 70),
    strides=st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 2])),
    with_pool2=st.booleans(),
)
@settings(deadline=None, max_examples=20)
def test_every_stride_divides_rounding_up_but_pool2_rounds_down(
    frames: int, height: int, width: int, strides: tuple[int, int], with_pool2: bool
) -> None:
    network = ResNet3d(
        I3DOptions(depth=18, width=2),
        conv1_stride_t=strides[0],
        pool1_stride_t=strides[1],
        with_pool2=with_pool2,
        inflate="alternate",
    )
    features = network.eval()(torch.randn(1, 3, frames, height, width))
    after_stem = ceil(frames / (strides[0] * strides[1]))
    expected = (after_stem // 2 if with_pool2 else after_stem, ceil(height / 32), ceil(width / 32))
    assert features.shape == (1, 16, *expected)


def picture_features(pictures: Tensor, network: nn.Module) -> Tensor:
    network.avgpool = nn.Identity()
    network.fc = nn.Identity()
    return network(pictures)


@pytest.mark.parametrize(
    ("network", "frames"),
    [
        # Frames enough that zeros from beyond the clip's ends do not reach its middle.
        (ResNet3d(I3DOptions(depth=18), conv1_kernel_t=1, inflate="late"), 17),
        (ResNet3d(I3DOptions(depth=18), conv1_stride_t=2, pool1_stride_t=2, with_pool2=True, inflate="alternate"), 160),
        (ResNet3d(I3DOptions(depth=18), conv1_kernel_t=3, inflate="all", temporal_strides=(1, 2, 2, 2)), 97),
    ],
)
def test_an_inflated_network_sees_in_a_clip_of_one_picture_that_picture(network: ResNet3d, frames: int) -> None:
    imagenet = torchvision.models.resnet18().eval()
    fill_from_2d(network, imagenet.state_dict())
    picture = torch.randn(1, 3, 1, 32, 32)
    with torch.inference_mode():
        features = network.eval()(picture.expand(-1, -1, frames, -1, -1))
        middle = features[:, :, features.shape[2] // 2].flatten(1)
        torch.testing.assert_close(middle, picture_features(picture[:, :, 0], imagenet), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("style", get_args(InflateStyle))
@pytest.mark.parametrize("depth", [18, 50])
def test_zero_init_makes_blocks_the_identity(depth: Depth, style: InflateStyle) -> None:
    network = ResNet3d(I3DOptions(depth=depth, width=4, zero_init_residual=True), inflate_style=style)
    features = torch.rand(2, network.out_channels, 3, 4, 4)
    torch.testing.assert_close(network.layer4[1](features), features)


@pytest.mark.parametrize("name", ["i3d", "slowonly", "slowfast", "r2plus1d"])
def test_convolutions_start_with_kaiming_normal_weights(name: str) -> None:
    for key, module in BACKBONES[name]().named_modules():
        if isinstance(module, nn.Conv3d) and module.weight.numel() > 10_000:
            fan_out = module.out_channels * module.weight[0, 0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), key


def stage_of(key: str) -> int:
    """0 for the stem, 1–4 for the stages; a lateral connection counts to the stage that it leads to."""
    place = key.removeprefix("slow.").removeprefix("fast.")
    if place.startswith("laterals."):
        return int(place.split(".")[1]) + 1
    return int(place[5]) if place.startswith("layer") else 0


def training_step(backbone: Backbone, frames: int = 8) -> None:
    torch.manual_seed(1)
    features = backbone(torch.randn(2, 3, frames, 32, 32))
    loss: Any = sum(maps.square().sum() for maps in (features if isinstance(features, tuple) else (features,)))
    if loss.requires_grad:
        loss.backward()


@pytest.mark.parametrize("frozen_stages", [-1, 0, 2, 4])
@pytest.mark.parametrize("name", BACKBONES)
def test_frozen_stages_neither_learn_nor_count(name: str, frozen_stages: int) -> None:
    backbone = BACKBONES[name](width=8, zero_init_residual=False, frozen_stages=frozen_stages).eval().train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    training_step(backbone)
    parameters = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    if parameters:
        torch.optim.SGD(parameters, lr=0.1).step()
    for key, parameter in backbone.named_parameters():
        assert parameter.requires_grad == (stage_of(key) > frozen_stages), key
    for key, buffer in backbone.named_buffers():
        assert torch.equal(buffer, before[key]) == (stage_of(key) <= frozen_stages), key


@pytest.mark.parametrize("name", BACKBONES)
def test_norm_eval_keeps_running_statistics_but_trains_scales(name: str) -> None:
    backbone = BACKBONES[name](width=8, norm_eval=True).train()
    buffers = {key: value.clone() for key, value in backbone.named_buffers()}
    training_step(backbone)
    assert all(torch.equal(value, buffers[key]) for key, value in backbone.named_buffers())
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def kept_bytes(backbone: Backbone) -> int:
    """Memory that a forward pass leaves taken, its output included."""
    clips = torch.randn(2, 3, 16, 64, 64)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        _graph = backbone(clips)
    return sum(event.self_cpu_memory_usage for event in profiled.key_averages())


@pytest.mark.parametrize("norm_eval", [False, True])
@pytest.mark.parametrize("name", BACKBONES)
def test_gradient_checkpointing_saves_memory_and_changes_nothing(name: str, norm_eval: bool) -> None:
    options = {"width": 8, "zero_init_residual": False, "norm_eval": norm_eval}
    plain, checkpointed = (BACKBONES[name](gradient_checkpointing=on, **options).train() for on in (False, True))
    checkpointed.load_state_dict(plain.state_dict())
    assert kept_bytes(deepcopy(checkpointed)) < 0.9 * kept_bytes(deepcopy(plain))
    for backbone in (plain, checkpointed):
        training_step(backbone)
    for key, parameter in plain.named_parameters():
        assert torch.equal(parameter.grad, checkpointed.get_parameter(key).grad), key
    for key, buffer in plain.named_buffers():
        assert torch.equal(buffer, checkpointed.get_buffer(key)), key
