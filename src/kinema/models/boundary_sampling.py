"""BMN's boundary-matching layer: samples of every segment of a video, weighted before they are gathered."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from kinema.models.acceleration import plain_operators

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def sampling_matrix(parts: int, samples: int, points: int, boundary_ratio: float) -> tuple[Ints, Ints, Floats]:
    """How every segment of a video of `parts` parts is sampled (Lin et al., 2019, arXiv:1907.09702, section 3.2).

    A segment of `d + 1` parts that starts with part s has `samples` samples at equal distances between `boundary_ratio`
    of its length before s and as much after s + d. Each is the mean of `points` points, and a point is interpolated
    between the parts beside it; what lies outside the video is zero. As in the papers' code a point less than one part
    before the video takes the first part as it is.

    Returns:
        The entries that are not zero: segment, in the order of `segments_of`; column, part times
        `samples` plus sample; weight. Sorted by segment, then column.
    """
    duration, start = segments_of(parts)
    reach = (duration + 1.0) * boundary_ratio
    first, last = start - reach, start + duration + reach
    step = (last - first) / (samples * points - 1.0)
    place = first[:, None] + step[:, None] * np.arange(samples * points)
    below = np.trunc(place)
    beyond = place - below
    part = np.stack([below, np.ceil(place)]).astype(np.int64)
    weight = np.stack([1 - beyond, beyond]) / points
    sample = np.repeat(np.arange(samples), points)
    key = (np.arange(len(start))[:, None] * parts + part) * samples + sample
    inside = (part >= 0) & (part < parts)
    keys, entry = np.unique(key[inside], return_inverse=True)
    weights = np.bincount(entry, weight[inside]).astype(np.float64)  # integers, where there are none
    kept = weights != 0
    segment, column = np.divmod(keys[kept], parts * samples)
    return segment, column, weights[kept]


def segments_of(parts: int) -> tuple[Ints, Ints]:
    """Duration less one, and start, of the segments that a video of `parts` parts has, by start, then by duration.

    Neighbours in this order have most of what they sample in common: it stays in the processor's cache.
    """
    start, duration = np.nonzero(np.add.outer(np.arange(parts), np.arange(parts)) < parts)
    return duration, start


class SparseMatrix(nn.Module):
    """A constant matrix (rows, columns), few of whose entries are not zero, that multiplies features from the left.

    It is not in the state dict. Products and their gradients are weighted sums of rows, for which torch's embedding
    bags are several times as fast as its sparse matrices and, unlike these, can be compiled, exported and have
    bfloat16.
    """

    rows: Tensor
    indices: Tensor
    offsets: Tensor
    weights: Tensor
    back_indices: Tensor
    back_offsets: Tensor
    back_weights: Tensor

    def __init__(self, row: Ints, column: Ints, weight: Floats, *, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        self._register("", row, column, weight, shape[0])
        self._register("back_", column, row, weight, shape[1])
        self.most = int(np.bincount(row).max(initial=0))
        self.register_buffer("rows", torch.from_numpy(np.sort(row).astype(np.int32)), persistent=False)

    def _register(self, prefix: str, row: Ints, column: Ints, weight: Floats, rows: int) -> None:
        order = np.argsort(row, kind="stable")
        offsets = np.searchsorted(row[order], np.arange(rows))
        for name, values in (("indices", column[order]), ("offsets", offsets)):
            self.register_buffer(prefix + name, torch.from_numpy(values.astype(np.int32)), persistent=False)
        weights = torch.from_numpy(weight[order].astype(np.float32))
        self.register_buffer(f"{prefix}weights", weights, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """`(N·columns, C)` → `(N·rows, C)`, one video after the other."""
        videos = features.shape[0] // self.shape[1]
        ahead = (self.indices, self.offsets, self.weights)
        if plain_operators():
            return self._by_plain_operators(features)
        if not (torch.is_grad_enabled() and features.requires_grad):
            return _weighted_sums(features, videos, *ahead)
        return _Product.apply(features, videos, *ahead, self.back_indices, self.back_offsets, self.back_weights)

    def _by_plain_operators(self, features: Tensor) -> Tensor:
        """Return the same, for ONNX, which has no embedding bags: rows that are picked, or a product of dense matrices.

        The dense matrix is assembled from its entries in the graph; runtimes do so once, when they load it.
        """
        rows, columns = self.shape
        videos = features.unflatten(0, (-1, columns))
        row = self.rows.long()
        if self.most > 1:
            matrix = features.new_zeros(self.shape).index_put((row, self.indices.long()), self.weights)
            return (matrix @ videos).flatten(0, 1)
        picked = torch.zeros(rows, dtype=torch.int64).index_put((row,), self.indices.long())
        weights = features.new_zeros(rows).index_put((row,), self.weights)
        return (videos[:, picked] * weights[:, None]).flatten(0, 1)


class _Product(torch.autograd.Function):
    """The gradient is the product with the transposed matrix, which torch would scatter row by row."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        features: Tensor, videos: int, indices: Tensor, offsets: Tensor, weights: Tensor,
        back_indices: Tensor, back_offsets: Tensor, back_weights: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(back_indices, back_offsets, back_weights)
        ctx.videos = videos  # type: ignore[attr-defined]
        return _weighted_sums(features, videos, indices, offsets, weights)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        back: tuple[Tensor, Tensor, Tensor] = ctx.saved_tensors  # type: ignore[attr-defined]
        return (_weighted_sums(gradient, ctx.videos, *back), *(None,) * 7)  # type: ignore[attr-defined]


def _weighted_sums(features: Tensor, videos: int, indices: Tensor, offsets: Tensor, weights: Tensor) -> Tensor:
    """`(N·columns, C)` → `(N·rows, C)`; the rows of all N `videos` are bags of one call."""
    columns = features.shape[0] // videos
    numbers = torch.arange(videos, dtype=indices.dtype, device=indices.device)[:, None]
    return F.embedding_bag(
        (indices + numbers * columns).reshape(-1),
        features.contiguous(),
        (offsets + numbers * indices.shape[0]).reshape(-1),
        mode="sum",
        per_sample_weights=weights.to(features.dtype).expand(videos, -1).reshape(-1),
    )


class BandedMap:
    """Layout of a boundary-matching map without its empty half, cut into bands for 3×3 convolutions.

    Rows are durations, columns starts. Each band has `height` durations and is as wide as its shortest has segments;
    a wide and a narrow band stand side by side in an image, so that all images have one size. `MARGIN` cells around a
    band are what two convolutions without padding read of its neighbours.

    `source`: (images, height + 2·MARGIN, width) of each cell its segment's number, `nowhere` for one that does not
    exist, -1 outside the map. `inside`: 1 for cells of the map, without the outermost cells of the images, float32.
    `cell`: (segments,) index of a segment's result in the flattened images without margins.
    """

    MARGIN = 2

    def __init__(self, parts: int) -> None:
        duration, start = segments_of(parts)
        self.nowhere = len(start)
        number = np.full((parts, parts), self.nowhere)
        number[duration, start] = np.arange(len(start))
        pairs = max(1, round(parts / 20))
        height = -(-parts // (2 * pairs))
        around = 2 * self.MARGIN
        tops = [(pair * height, (2 * pairs - 1 - pair) * height) for pair in range(pairs)]
        width = max(sum(max(parts - top, 0) + around for top in pair) for pair in tops)
        self.source = np.full((pairs, height + around, width), -1)
        self.cell = np.empty(len(start), np.int64)
        results = np.arange(pairs * height * (width - around)).reshape(pairs, height, width - around)
        padded = np.pad(number, ((self.MARGIN, height + self.MARGIN),) * 2, constant_values=-1)
        for image, pair in enumerate(tops):
            left = 0
            for top in pair:
                columns = max(parts - top, 0)
                if not columns:
                    continue
                band = padded[top : top + height + around, : columns + around]
                self.source[image, :, left : left + columns + around] = band
                own = (duration >= top) & (duration < top + height)
                self.cell[own] = results[image, duration[own] - top, left + start[own]]
                left += columns + around
        self.inside = (self.source >= 0)[:, 1:-1, 1:-1].astype(np.float32)

    @property
    def matrix(self) -> SparseMatrix:
        """From segments, and last the values of a segment that does not exist, to the images' cells."""
        cells = self.source.reshape(-1)
        taken = np.flatnonzero(cells >= 0)
        return SparseMatrix(taken, cells[taken], np.ones(len(taken)), shape=(len(cells), self.nowhere + 1))
