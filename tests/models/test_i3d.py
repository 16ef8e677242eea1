"""I3D's non-local blocks against plain loops, and where they stand."""

import pytest
import torch
from torch import Tensor, nn

from kinema.models.i3d import I3DOptions
from kinema.models.non_local import NonLocal, NonLocalForm, NonLocalKind

KINDS: list[NonLocalKind] = ["gaussian", "embedded_gaussian", "dot_product"]


def looked_around(block: NonLocal, x: Tensor) -> Tensor:
    """What a non-local block adds, place by place, as the paper's equation 1 says."""

    def project(layer: nn.Module | None, features: Tensor) -> Tensor:
        if layer is None:
            return features
        return torch.einsum("oc,c...->o...", layer.weight[:, :, 0, 0, 0], features) + layer.bias.view(-1, 1, 1, 1)

    def pool(features: Tensor) -> Tensor:
        pairs = features[:, :, : x.shape[3] // 2 * 2, : x.shape[4] // 2 * 2].unflatten(2, (-1, 2)).unflatten(4, (-1, 2))
        return pairs.amax(dim=(3, 5))

    added = []
    for clip in x:
        if block.pool_first:
            keys, values = (project(layer, pool(clip)).flatten(1).T for layer in (block.phi, block.g))
        else:
            keys, values = (pool(project(layer, clip)).flatten(1).T for layer in (block.phi, block.g))
        sums = []
        for query in project(block.theta, clip).flatten(1).T:
            similarity = torch.stack([query.dot(key) for key in keys])
            if block.kind == "dot_product":
                weights = similarity / len(keys)
            else:
                weights = (similarity * (values.shape[1] ** -0.5 if block.pool_first else 1)).exp()
                weights = weights / weights.sum()
            sums.append(sum(weight * value for weight, value in zip(weights, values, strict=True)))
        out = block.out.weight[:, :, 0, 0, 0] @ torch.stack(sums).T
        out = out if block.out.bias is None else out + block.out.bias[:, None]
        added.append(out.unflatten(1, x.shape[2:]))
    return torch.stack(added)


@pytest.mark.parametrize(
    ("kind", "form"),
    [*((kind, "mmaction2") for kind in KINDS), ("embedded_gaussian", "pyslowfast"), ("dot_product", "pyslowfast")],
)
def test_a_non_local_block_equals_plain_loops(kind: NonLocalKind, form: NonLocalForm) -> None:
    torch.manual_seed(0)
    block = NonLocal(6, kind, form).double().eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    block.norm = nn.Identity()
    x = torch.randn(2, 6, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(block(x), x + looked_around(block, x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_non_local_block_starts_as_the_identity_and_learns(kind: NonLocalKind) -> None:
    block = NonLocal(8, kind, "mmaction2")
    x = torch.randn(2, 8, 2, 4, 4)
    out = block(x)
    assert torch.equal(out, x)
    out.square().sum().backward()
    assert block.norm.weight.grad.abs().min() > 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_a_non_local_block_keeps_the_memory_layout(layout: torch.memory_format) -> None:
    x = torch.randn(2, 8, 2, 4, 4).to(memory_format=layout)
    assert NonLocal(8, "dot_product", "mmaction2")(x).is_contiguous(memory_format=layout)


@pytest.mark.parametrize(("depth", "places"), [(18, [[1], [1]]), (50, [[1, 3], [1, 3, 5]]), (101, [[1, 3], [1, 3, 5]])])
def test_non_local_blocks_stand_after_every_second_block_of_the_middle_stages(
    depth: int, places: list[list[int]]
) -> None:
    with torch.device("meta"):
        stages = I3DOptions(depth=depth, non_local="gaussian").build().backbone.stages  # type: ignore[arg-type]
    found = [[i for i, block in enumerate(stage) if block.non_local is not None] for stage in stages]
    assert found == [[], *places, []]


def test_freezing_takes_in_non_local_blocks() -> None:
    backbone = I3DOptions(depth=18, width=4, non_local="dot_product", frozen_stages=2).build().backbone
    assert not any(parameter.requires_grad for parameter in backbone.layer2.parameters())
    assert all(parameter.requires_grad for parameter in backbone.layer3.parameters())
