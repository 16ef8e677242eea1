"""SlowFast: which frames the slow pathway sees, and how the fast one tells it."""

from math import ceil
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from kinema.models.slowfast import Lateral, SlowFastBackbone, SlowFastOptions
from kinema.models.slowonly import SlowOnlyOptions


def backbone(**options: Any) -> SlowFastBackbone:
    torch.manual_seed(0)
    model = SlowFastOptions(**{"depth": 18, "width": 8, "zero_init_residual": False, **options}).build()
    assert isinstance(model.backbone, SlowFastBackbone)
    return model.backbone.eval()


def silence(network: SlowFastBackbone) -> None:
    """Let nothing through the lateral connections."""
    for lateral in network.laterals:
        assert isinstance(lateral, Lateral)
        nn.init.zeros_(lateral.conv.weight)


def slow_frames(network: SlowFastBackbone, frames: int) -> list[int]:
    """The frames of a clip that the slow pathway sees for itself."""
    clips = torch.randn(1, 3, frames, 32, 32, requires_grad=True)
    network(clips)[0].sum().backward()
    assert clips.grad is not None
    return clips.grad.abs().sum(dim=(0, 1, 3, 4)).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("options", "frames", "expected"),
    [
        ({}, 32, [0, 8, 16, 24]),
        ({"alpha": 4}, 32, [0, 4, 8, 12, 16, 20, 24, 28]),
        ({}, 20, [0, 8, 16]),
        ({"slow_frames": "spread"}, 32, [0, 10, 20, 31]),
        ({"slow_frames": "spread", "alpha": 4}, 32, [0, 4, 8, 13, 17, 22, 26, 31]),
    ],
)
def test_the_slow_pathway_sees_few_frames(options: dict[str, Any], frames: int, expected: list[int]) -> None:
    network = backbone(**options)
    silence(network)
    assert slow_frames(network, frames) == expected


@pytest.mark.parametrize("slow_frames", ["every", "spread"])
@pytest.mark.usefixtures("two_threads")
def test_channels_last_clips_give_channels_last_features(slow_frames: str) -> None:
    clips = torch.randn(2, 3, 16, 64, 64).to(memory_format=torch.channels_last_3d)
    for features in backbone(width=16, slow_frames=slow_frames)(clips):
        assert features.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_lateral_connections_tell_it_of_the_others() -> None:
    assert len(slow_frames(backbone(), 32)) > 4


@given(
    frames=st.integers(1, 40),
    alpha=st.sampled_from([2, 4, 8]),
    kernel=st.sampled_from([5, 7]),
    size=st.integers(20, 70),
)
@settings(deadline=None, max_examples=15)
def test_both_pathways_keep_their_frames(frames: int, alpha: int, kernel: int, size: int) -> None:
    slow, fast = backbone(alpha=alpha, fusion_kernel=kernel, beta=4)(torch.randn(1, 3, frames, size, 32))
    assert slow.shape == (1, 64, ceil(frames / alpha), ceil(size / 32), 1)
    assert fast.shape == (1, 16, frames, ceil(size / 32), 1)


def test_without_lateral_connections_the_slow_pathway_is_a_slowonly() -> None:
    network = backbone(depth=50)
    silence(network)
    alone = SlowOnlyOptions(depth=50, width=8).build().backbone.eval()
    own = alone.state_dict()
    weights = network.slow.state_dict()
    # The channels that would come from the fast pathway are the last ones.
    alone.load_state_dict(
        {key: value[:, : own[key].shape[1]] if value.dim() == 5 else value for key, value in weights.items()}
    )
    clips = torch.randn(2, 3, 16, 32, 32)
    torch.testing.assert_close(network(clips)[0], alone(clips[:, :, [0, 8]]))


@pytest.mark.parametrize("alpha", [4, 8])
def test_a_lateral_connection_equals_a_plain_loop(alpha: int) -> None:
    lateral = Lateral(3, alpha=alpha, kernel=5, norm=False)
    fast = torch.randn(2, 3, 16, 4, 4)

    def at(frame: int) -> Tensor:
        near = [(k, frame + k - 2) for k in range(5) if 0 <= frame + k - 2 < 16]
        return sum(torch.einsum("oc,nchw->nohw", lateral.conv.weight[:, :, k, 0, 0], fast[:, :, t]) for k, t in near)

    expected = torch.stack([at(frame) for frame in range(0, 16, alpha)], dim=2)
    torch.testing.assert_close(lateral(fast), expected)


def test_lateral_norm_adds_batch_norm_and_relu() -> None:
    lateral = Lateral(3, alpha=4, kernel=5, norm=True)
    fast = torch.randn(2, 3, 16, 4, 4)
    torch.testing.assert_close(lateral(fast), lateral.norm(lateral.conv(fast)).relu())
    counts = [sum(p.numel() for p in SlowFastOptions(lateral_norm=norm).build().parameters()) for norm in (False, True)]
    assert counts[1] - counts[0] == 928
