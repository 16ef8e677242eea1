"""Renewed batch-norm statistics against averages written plainly."""

import torch
from torch import nn

from kinema.models.tsm import TSMOptions
from kinema.training.batch_norm import recompute_batch_norm


def test_statistics_are_averages_over_batches() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4, momentum=0.1)).train()
    model[1].running_mean.fill_(7)
    batches = [torch.randn(2, 3, 2, 5, 5) * (k + 1) for k in range(3)]
    means, variances = [], []
    for batch in batches:
        values = model[0](batch).transpose(0, 1).flatten(1).double()
        means.append(values.mean(1))
        variances.append(values.var(1, unbiased=True))
    weights = model[0].weight.clone()
    recompute_batch_norm(model, batches)
    torch.testing.assert_close(model[1].running_mean.double(), sum(means) / 3, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model[1].running_var.double(), sum(variances) / 3, rtol=1e-5, atol=1e-6)
    assert model[1].momentum == 0.1
    assert torch.equal(model[0].weight, weights)
    assert model[0].weight.grad is None


def test_frozen_layers_keep_theirs() -> None:
    model = TSMOptions(depth=18, width=8, num_classes=3, frozen_stages=1, pretrained="none").build().train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    recompute_batch_norm(model, [torch.randn(2, 3, 8, 32, 32)])
    changed = {name for name, buffer in model.named_buffers() if not torch.equal(buffer, before[name])}
    frozen = {name for name in before if name.startswith(("backbone.bn1", "backbone.layer1"))}
    assert not changed & frozen
    assert any(name.startswith("backbone.layer2") for name in changed)
