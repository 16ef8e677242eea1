"""TSN and TSM on optical flow: what their 2D network sees, and how it is normalised."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kinema.models.tsm import TSMOptions
from kinema.models.tsn import TSNOptions

SEGMENTS, FIELDS = 3, 5


@pytest.fixture(params=[TSNOptions, TSMOptions])
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    return request.param(num_classes=4, depth=18, width=8, flow_fields=FIELDS, pretrained="none").build().eval()


def test_a_segments_fields_stand_as_x1_y1_x2_y2(model: Any) -> None:
    flow = torch.randn(2, 2, SEGMENTS * FIELDS, 32, 40)
    seen: list[Tensor] = []
    model.backbone.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert model(flow).shape == (2, 4)
    assert seen[0].shape == (2 * SEGMENTS, 2 * FIELDS, 32, 40)
    for clip in range(2):
        for segment in range(SEGMENTS):
            for field in range(FIELDS):
                for axis in range(2):
                    expected = flow[clip, axis, segment * FIELDS + field]
                    assert torch.equal(seen[0][clip * SEGMENTS + segment, 2 * field + axis], expected)


def test_no_motion_is_zero(model: Any) -> None:
    still = torch.full((1, 2, SEGMENTS * FIELDS, 32, 32), 128, dtype=torch.uint8)
    assert not model.normalize(still).any()
    assert model.normalize(torch.zeros_like(still)).unique().tolist() == [-1.0]


@pytest.mark.parametrize("kind", [TSNOptions, TSMOptions])
def test_gradient_checkpointing_changes_nothing(kind: type[TSNOptions]) -> None:
    clips = torch.randn(2, 3, 4, 32, 32)
    plain, checkpointed = (
        kind(num_classes=4, depth=18, width=8, dropout=0, pretrained="none", gradient_checkpointing=on).build().train()
        for on in (False, True)
    )
    checkpointed.load_state_dict(plain.state_dict())
    for network in (plain, checkpointed):
        nn.functional.cross_entropy(network(clips), torch.tensor([1, 2])).backward()
    for key, parameter in plain.named_parameters():
        assert torch.equal(parameter.grad, checkpointed.get_parameter(key).grad), key
    for key, buffer in plain.named_buffers():
        assert torch.equal(buffer, checkpointed.get_buffer(key)), key
