"""The moving average of the weights is torch's, without waiting for the device."""

import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kinema.training.optimization.averaging import MovingAverage


@pytest.mark.parametrize("decay", [0.5, 0.999])
def test_it_is_that_of_torch(decay: float) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    own = MovingAverage(model, decay)
    reference = AveragedModel(copy.deepcopy(model), multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(5):
        model(torch.randn(8, 4)).square().sum().backward()
        optimizer.step()
        own.update(model)
        reference.update_parameters(model)
    for name, value in reference.module.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(own.module.state_dict()[name], value), name
    assert own.module[1].num_batches_tracked == 5
    assert not torch.equal(own.module[0].weight, model[0].weight)
