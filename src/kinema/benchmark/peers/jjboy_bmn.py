"""JJBOY's BMN with its loss and optimizer, from a checkout."""

import torch
from plain_torch import device, on_torch, prepare
from protocol import Contender, Request, answer

OPTIONS = {"temporal_scale": 100, "prop_boundary_ratio": 0.5, "num_sample": 32, "num_sample_perbin": 3, "feat_dim": 400}


def build(request: Request) -> Contender:
    """Build the model of the row bmn."""
    prepare(request)
    notes = []
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self, *_, **__: self
        notes.append("its loss calls .cuda(), which is replaced by a no-op on a CPU")
    import loss_function
    import numpy as np
    from utils import ioa_with_anchors, iou_with_anchors

    import models

    model = models.BMN(OPTIONS).to(device()).train()
    features = torch.randn(request.shape, device=device())
    overlaps, starts, ends = _labels(request.shape[0], np, iou_with_anchors, ioa_with_anchors)
    mask = loss_function.get_mask(OPTIONS["temporal_scale"])
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=0.001, weight_decay=1e-4)

    def train() -> None:
        loss = loss_function.bmn_loss_func(*model(features), overlaps, starts, ends, mask.cuda())
        optimizer.zero_grad()
        loss[0].backward()
        optimizer.step()

    return on_torch(train, model, features, notes)


def _labels(batch: int, np: object, iou: object, ioa: object) -> tuple[torch.Tensor, ...]:
    """Labels of one instance per video, computed by the repository's overlap functions."""
    overlaps, starts, ends = torch.zeros(batch, 100, 100), torch.zeros(batch, 100), torch.zeros(batch, 100)
    edges = np.arange(100) / 100
    for video in range(batch):
        begin, end = np.array([0.1 + 0.05 * (video % 8)]), np.array([0.5 + 0.05 * (video % 8)])
        for first in range(100):
            for last in range(first, 100):
                overlaps[video, first, last] = float(iou(first / 100, (last + 1) / 100, begin, end)[0])
        for part in range(100):
            starts[video, part] = float(ioa(edges[part], edges[part] + 0.01, begin - 0.015, begin + 0.015)[0])
            ends[video, part] = float(ioa(edges[part], edges[part] + 0.01, end - 0.015, end + 0.015)[0])
    return tuple(labels.to(device()) for labels in (overlaps, starts, ends))


answer(build)
