"""SlowOnly: what its stages see of time."""

import pytest
import torch
from torch import Tensor

from kinema.models.resnet3d import ResNet3d
from kinema.models.slowonly import SlowOnlyOptions


def backbone(depth: int) -> ResNet3d:
    torch.manual_seed(0)
    model = SlowOnlyOptions(depth=depth, width=4, zero_init_residual=False).build()
    assert isinstance(model.backbone, ResNet3d)
    return model.backbone.eval()


def seen_frames(network: ResNet3d, stages: int, frame: int) -> list[int]:
    """The frames of a clip that a frame of features after so many stages depends on."""
    clips = torch.randn(1, 3, 23, 32, 32, requires_grad=True)
    features: Tensor = network.stem(clips)
    for stage in network.stages[:stages]:
        features = stage(features)
    features[:, :, frame].sum().backward()
    assert clips.grad is not None
    return clips.grad.abs().sum(dim=(0, 1, 3, 4)).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("depth", "reaches"),
    [
        (18, [0, 0, 0, 2 * 2, 2 * 2 + 2 * 2]),  # two convolutions over time in each of two blocks
        (50, [0, 0, 0, 6, 6 + 3]),  # one in each of six and three
    ],
)
def test_only_the_last_two_stages_mix_frames(depth: int, reaches: list[int]) -> None:
    for stages, reach in enumerate(reaches):
        assert seen_frames(backbone(depth), stages, 11) == list(range(11 - reach, 11 + reach + 1))


@pytest.mark.parametrize("frames", [1, 2, 5, 8])
def test_all_frames_stay(frames: int) -> None:
    assert backbone(18)(torch.randn(2, 3, frames, 40, 64)).shape == (2, 32, frames, 2, 2)
