"""BMN's map as the paper's code computes it, written plainly: loops, a dense matrix, a 3D convolution."""

import math

import torch
from torch import Tensor

from kinema.models.bmn import BMN


def sampling_by_loops(parts: int, samples: int, points: int, boundary_ratio: float) -> Tensor:
    """(parts, samples, durations, starts) float64."""
    matrix = torch.zeros(parts, samples, parts, parts, dtype=torch.float64)
    for start in range(parts):
        for duration in range(parts - start):
            reach = (duration + 1) * boundary_ratio
            first, last = start - reach, start + duration + reach
            for point in range(samples * points):
                place = first + (last - first) / (samples * points - 1) * point
                beyond, below = math.modf(place)
                for part, weight in ((int(below), 1 - beyond), (math.ceil(place), beyond)):
                    if 0 <= part < parts:
                        matrix[part, point // points, duration, start] += weight / points
    return matrix


def confidence(model: BMN, features: Tensor, matrix: Tensor) -> Tensor:
    """`(N, 2, T, T)` probabilities of all cells, also of segments that do not exist."""
    sampled = torch.einsum("nct,tsdb->ncsdb", model.proposal(model.base(features)), matrix.to(features.dtype))
    maps = model.reduce(model.samples(sampled).relu().squeeze(2)).relu()
    for convolution in model.context:
        maps = convolution(maps).relu()
    return model.confidence(maps).sigmoid()
