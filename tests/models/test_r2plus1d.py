"""R(2+1)D, R3D and MC3 against torchvision's."""

import pytest
import torch
import torchvision
from torch import nn

from kinema.models.foreign import load_foreign_state_dict
from kinema.models.r2plus1d import Conv2Plus1d, Convolutions, R2Plus1D, R2Plus1DOptions

TORCHVISION: dict[str, Convolutions] = {"r2plus1d_18": "2+1d", "r3d_18": "3d", "mc3_18": "mixed"}
CLASSES = 5


def both(name: str) -> tuple[R2Plus1D, nn.Module]:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, num_classes=CLASSES)
    nn.init.normal_(theirs.fc.weight, std=0.1)
    ours = R2Plus1DOptions(
        depth=18, num_classes=CLASSES, convolutions=TORCHVISION[name], form="torchvision", dropout=0.0
    ).build()
    load_foreign_state_dict(ours, theirs.state_dict(), source="torchvision")
    return ours, theirs


@pytest.mark.parametrize("name", TORCHVISION)
def test_computes_torchvisions_logits(name: str) -> None:
    ours, theirs = (model.eval() for model in both(name))
    clips = torch.randn(2, 3, 9, 40, 56)
    with torch.inference_mode():
        torch.testing.assert_close(ours(clips), theirs(clips))


@pytest.mark.parametrize("name", TORCHVISION)
def test_takes_torchvisions_training_step(name: str) -> None:
    # In float32, sums in another order change signs before ReLUs.
    ours, theirs = (model.train().double() for model in both(name))
    clips = torch.randn(2, 3, 9, 32, 40, dtype=torch.float64)
    found, expected = ours(clips), theirs(clips)
    torch.testing.assert_close(found, expected)
    for logits in (found, expected):
        nn.functional.cross_entropy(logits, torch.tensor([1, 3])).backward()

    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    for (key, _), (mine, other) in zip(ours.named_parameters(), pairs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-6, msg=key)
    running = [[value for key, value in model.named_buffers() if "running" in key] for model in (ours, theirs)]
    for mine, other in zip(*running, strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (1, 2, 2)])
@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 7, 7), (1, 1, 1)])
def test_two_steps_give_the_shape_of_one(kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
    one = nn.Conv3d(4, 6, kernel, stride=stride, padding=tuple(k // 2 for k in kernel))
    clips = torch.randn(2, 4, 7, 14, 11)
    assert Conv2Plus1d(one, 5)(clips).shape == one(clips).shape


def test_two_steps_have_as_many_weights_as_one() -> None:
    with torch.device("meta"):
        two, one = (R2Plus1DOptions(depth=34, convolutions=convolutions).build() for convolutions in ("2+1d", "3d"))
    for stage, whole in zip(two.backbone.stages, one.backbone.stages, strict=True):
        counts = [
            sum(p.numel() for block in blocks for name in ("conv1", "conv2") for p in getattr(block, name).parameters())
            for blocks in (stage, whole)
        ]
        assert counts[0] == pytest.approx(counts[1], rel=0.01)


def test_mmaction2s_epsilon_is_of_the_batch_norms_after_both_steps() -> None:
    with torch.device("meta"):
        model = R2Plus1DOptions().build()
    epsilons = {key: m.eps for key, m in model.named_modules() if isinstance(m, nn.BatchNorm3d)}
    assert {key: 1e-5 if key.endswith(".norm") else 1e-3 for key in epsilons} == epsilons
