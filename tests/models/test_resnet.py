"""The 2D ResNet against torchvision's."""

from typing import Any, get_args

import pytest
import torch
import torchvision
from torch import Tensor, nn

from kinema.models.backbone import Depth
from kinema.models.resnet import BasicBlock, ResNet
from kinema.models.tsn import TSNOptions

DEPTHS = get_args(Depth)


def resnet(**options: Any) -> ResNet:
    return ResNet(TSNOptions(**options))


def torchvision_features(depth: int) -> nn.Module:
    """torchvision's network without its classifier, whose output is `(N, C · h · w)`."""
    network = getattr(torchvision.models, f"resnet{depth}")()
    network.avgpool = nn.Identity()
    network.fc = nn.Identity()
    return network


@pytest.mark.parametrize("depth", DEPTHS)
def test_state_dict_is_torchvisions(depth: Depth) -> None:
    with torch.device("meta"):
        ours, theirs = resnet(depth=depth), torchvision_features(depth)
    shapes = {key: value.shape for key, value in ours.state_dict().items()}
    assert shapes == {key: value.shape for key, value in theirs.state_dict().items()}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("depth", [18, 50])
def test_equals_torchvision(depth: Depth, training: bool) -> None:
    torch.manual_seed(0)
    ours, theirs = resnet(depth=depth).train(training), torchvision_features(depth).train(training)
    ours.load_state_dict(theirs.state_dict())
    frames = torch.randn(2, 3, 64, 96)

    found, expected = ours(frames), theirs(frames)
    assert found.shape == (2, ours.out_channels, 2, 3)
    torch.testing.assert_close(found.flatten(1), expected)

    found.square().mean().backward()
    expected.square().mean().backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-5, msg=name)
    for name, buffer in ours.named_buffers():
        torch.testing.assert_close(buffer, theirs.get_buffer(name), msg=name)


@pytest.mark.parametrize(("depth", "channels"), [(18, 8 * 16), (50, 8 * 16 * 4)])
def test_width_scales_every_stage(depth: Depth, channels: int) -> None:
    network = resnet(depth=depth, width=16)
    assert network.conv1.out_channels == 16
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, channels, 1, 1)


def test_convolutions_start_with_kaiming_normal_weights() -> None:
    for name, module in resnet(depth=50).named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05), name


@pytest.mark.parametrize("depth", [18, 50])
def test_zero_init_makes_blocks_the_identity(depth: Depth) -> None:
    network = resnet(depth=depth, width=16, zero_init_residual=True)
    features = torch.rand(2, network.out_channels, 4, 4)
    torch.testing.assert_close(network.layer4[1](features, 1), features)


def state(network: ResNet) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def stage_of(name: str) -> int:
    """0 for the stem, 1–4 for the stages."""
    return int(name[5]) if name.startswith("layer") else 0


@pytest.mark.parametrize("frozen_stages", [-1, 0, 1, 2, 3, 4])
def test_frozen_stages_neither_learn_nor_count(frozen_stages: int) -> None:
    network = resnet(depth=18, width=8, frozen_stages=frozen_stages).eval().train()
    before = state(network)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    loss = network(torch.randn(2, 3, 64, 64)).square().sum()
    if parameters:
        loss.backward()
        torch.optim.SGD(parameters, lr=0.1).step()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]) == (stage_of(name) <= frozen_stages), name


def test_norm_eval_keeps_running_statistics_but_trains_scales() -> None:
    network = resnet(depth=18, width=8, norm_eval=True).train()
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    network(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(torch.equal(value, buffers[name]) for name, value in network.named_buffers())
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_shift_comes_before_the_first_convolution_and_not_into_the_shortcut() -> None:
    block = BasicBlock(8, 8, 1).eval()
    x = torch.randn(2, 8, 4, 4).relu()
    block.shift = lambda x, segments: x * segments
    residual = block.bn2(block.conv2(block.bn1(block.conv1(3 * x)).relu()))
    torch.testing.assert_close(block(x, 3), (x + residual).relu())
