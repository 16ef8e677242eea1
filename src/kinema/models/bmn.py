"""BMN: Boundary-Matching Network (Lin et al., 2019, arXiv:1907.09702)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn
from torch.utils._pytree import _register_namedtuple

from kinema.models.boundary_sampling import BandedMap, SparseMatrix, sampling_matrix, segments_of
from kinema.models.capabilities import Input
from kinema.models.convolution import Conv3d
from kinema.models.foreign import Configured, Foreign, ForeignOptions, Rules, Source, ToolConfig, renamed
from kinema.models.localizer import Localizer, with_channels

Formulation = Literal["sparse", "dense"]


@dataclass(kw_only=True)
class BMNOptions(ForeignOptions):
    """Options of BMN."""

    feature_channels: Annotated[int, Ge(4)] = 400
    """Channels of the features, a multiple of 4."""
    parts: Annotated[int, Ge(1)] = 100
    """Length T of the features: equal parts of a video with one feature each."""
    samples: Annotated[int, Ge(1)] = 32
    """Samples of each segment."""
    points: Annotated[int, Ge(1)] = 3
    """Interpolated points whose mean is a sample."""
    boundary_ratio: Annotated[float, Ge(0)] = 0.5
    """Context that is sampled before a segment's start and after its end, as a fraction of its length."""
    hidden_1d: Annotated[int, Ge(4)] = 256
    """Channels of the convolutions along time, a multiple of 4."""
    hidden_2d: Annotated[int, Ge(1)] = 128
    """Channels of the convolutions over the map of starts and durations."""
    hidden_3d: Annotated[int, Ge(1)] = 512
    """Channels after the convolution over all samples of a segment."""
    formulation: Formulation = "sparse"
    """sparse computes the segments that exist; dense the whole map, as the paper's code does, for comparison."""

    def build(self) -> "BMN":
        """Return a BMN with random weights."""
        return BMN(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        return with_channels(self, weights, "x_1d_b.0.weight", groups=BMN.GROUPS) if source == "mmaction2" else self

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        if source != "mmaction2" or config.type("model") != "BMN":
            return None
        names = {"parts": "temporal_dim", "samples": "num_samples", "points": "num_samples_per_bin"}
        names["boundary_ratio"] = "boundary_ratio"
        model = config.part("model")
        return Configured(options={ours: model.get(name) for ours, name in names.items() if name in model.content})


class BMNOutput(NamedTuple):
    """Probabilities, float32.

    confidence: (N, 2, D, T) overlap of the segment of d + 1 parts that starts with part t, by regression and by
    classification; 0 where d + t ≥ T. start, end: (N, T) that an action starts, ends with a part.
    """

    confidence: Tensor
    start: Tensor
    end: Tensor


_register_namedtuple(BMNOutput, serialized_type_name="kinema.models.bmn.BMNOutput")  # torch.export.save asks for it


class BMN(Localizer):
    """Features `(N, C, T)` of a video → probabilities of starts and ends of actions, and of all segments."""

    GROUPS = 4
    """Groups of the convolutions along time on the features."""

    def __init__(self, options: BMNOptions) -> None:
        super().__init__()
        parts, samples, hidden_1d, hidden_2d = options.parts, options.samples, options.hidden_1d, options.hidden_2d
        entries = sampling_matrix(parts, samples, options.points, options.boundary_ratio)
        self.parts = parts
        self.input = Input(channels=options.feature_channels, frames=parts)
        self.base = nn.Sequential(
            *_conv1d(options.feature_channels, hidden_1d, self.GROUPS), *_conv1d(hidden_1d, hidden_1d, self.GROUPS)
        )
        self.start = nn.Sequential(*_conv1d(hidden_1d, hidden_1d, 4), nn.Conv1d(hidden_1d, 1, 1))
        self.end = nn.Sequential(*_conv1d(hidden_1d, hidden_1d, 4), nn.Conv1d(hidden_1d, 1, 1))
        self.proposal = nn.Sequential(*_conv1d(hidden_1d, hidden_1d, 1))
        self.samples = Conv3d(hidden_1d, options.hidden_3d, (samples, 1, 1))
        self.reduce = nn.Conv2d(options.hidden_3d, hidden_2d, 1)
        self.context = nn.ModuleList(nn.Conv2d(hidden_2d, hidden_2d, 3, padding=1) for _ in range(2))
        self.confidence = nn.Conv2d(hidden_2d, 2, 1)
        matching = _SparseMatching if options.formulation == "sparse" else _DenseMatching
        self.matching = matching(entries, parts, samples)

    def forward(self, features: Tensor) -> BMNOutput:
        """Features `(N, C, T)` → probabilities."""
        base = self.base(features)
        return BMNOutput(
            confidence=self.matching(self.proposal(base), self),
            start=self.start(base).squeeze(1).float().sigmoid(),
            end=self.end(base).squeeze(1).float().sigmoid(),
        )

    def foreign(self, source: Source) -> Foreign | None:
        """Names in MMAction2, which saves the matrix and the mask of the map beside the weights."""
        if source != "mmaction2":
            return None
        samples = self.samples.kernel_size[0]
        constants = {"sample_mask": (self.parts, samples * self.parts**2), "bm_mask": (self.parts, self.parts)}
        return Foreign(names=renamed(self, _MMACTION2), constants=constants)

    def blocks(self) -> list[nn.Module]:
        """The convolutions along time."""
        return [self.base, self.start, self.end, self.proposal]


_MMACTION2: Rules = (
    (r"^base\.", "x_1d_b."),
    (r"^start\.", "x_1d_s."),
    (r"^end\.", "x_1d_e."),
    (r"^proposal\.", "x_1d_p."),
    (r"^samples$", "x_3d_p.0"),
    (r"^reduce$", "x_2d_p.0"),
    (r"^context\.0$", "x_2d_p.2"),
    (r"^context\.1$", "x_2d_p.4"),
    (r"^confidence$", "x_2d_p.6"),
)


def _conv1d(in_channels: int, out_channels: int, groups: int) -> tuple[nn.Module, ...]:
    return nn.Conv1d(in_channels, out_channels, 3, padding=1, groups=groups), nn.ReLU()


_Entries = tuple[np.ndarray, np.ndarray, np.ndarray]


class _SparseMatching(nn.Module):
    """Boundary-matching map of the existing segments only.

    Sampling and the convolution over samples are linear in the features: the weights are applied to the T parts
    first, then the results are gathered. In the 3×3 convolutions, a segment that does not exist has the output of the
    layers before for samples of zero, as in the dense map.
    """

    inside: Tensor
    cell: Tensor
    exists: Tensor

    def __init__(self, entries: _Entries, parts: int, samples: int) -> None:
        super().__init__()
        banded = BandedMap(parts)
        self.parts = parts
        self.sampling = SparseMatrix(*entries, shape=(banded.nowhere + 1, parts * samples))
        self.bands = banded.matrix
        self.images, self.height, self.width = banded.source.shape
        duration, start = segments_of(parts)
        cell, exists = np.zeros((parts, parts), np.int64), np.zeros((parts, parts), np.float32)
        cell[duration, start], exists[duration, start] = banded.cell, 1
        self.register_buffer("inside", torch.from_numpy(banded.inside), persistent=False)
        self.register_buffer("cell", torch.from_numpy(cell.reshape(-1)), persistent=False)
        self.register_buffer("exists", torch.from_numpy(exists), persistent=False)

    def forward(self, features: Tensor, layers: "BMN") -> Tensor:
        """`(N, C, T)` → probabilities `(N, 2, T, T)`, by the layers of `BMN` over samples and the map."""
        samples, reduce, confidence = layers.samples, layers.reduce, layers.confidence
        outputs, channels, count = samples.weight.shape[:3]
        by_sample = samples.weight.reshape(outputs, channels, count).permute(2, 0, 1).reshape(-1, channels)
        assert samples.bias is not None
        weighted = F.linear(features.transpose(1, 2), by_sample).reshape(-1, outputs)
        segments = self.sampling(weighted).add_(samples.bias.to(weighted.dtype)).relu_()
        reduced = F.linear(segments, reduce.weight.flatten(1), reduce.bias).relu_()
        images = self.bands(reduced).reshape(-1, self.height, self.width, reduced.shape[1]).permute(0, 3, 1, 2)
        first, second = (layer for layer in layers.context if isinstance(layer, nn.Conv2d))
        inner = F.conv2d(images, first.weight, first.bias)
        inner = inner.mul_(self.inside.to(inner.dtype).repeat(features.shape[0], 1, 1)[:, None]).relu_()
        inner = F.conv2d(inner, second.weight, second.bias).relu_()
        logits = F.conv2d(inner, confidence.weight, confidence.bias)
        cells = logits.unflatten(0, (-1, self.images)).transpose(1, 2).flatten(2)
        confidences = cells[:, :, self.cell].unflatten(2, (self.parts, self.parts))
        return confidences.float().sigmoid() * self.exists


class _DenseMatching(nn.Module):
    """Boundary-matching map as in the paper's code: one dense matrix samples all cells, then a 3D convolution."""

    matrix: Tensor
    exists: Tensor

    def __init__(self, entries: _Entries, parts: int, samples: int) -> None:
        super().__init__()
        self.parts = parts
        segment, column, weight = entries
        duration, start = segments_of(parts)
        matrix = np.zeros((parts, samples, parts, parts), np.float32)
        part, sample = np.divmod(column, samples)
        matrix[part, sample, duration[segment], start[segment]] = weight
        exists = np.zeros((parts, parts), np.float32)
        exists[duration, start] = 1
        self.register_buffer("matrix", torch.from_numpy(matrix.reshape(parts, -1)), persistent=False)
        self.register_buffer("exists", torch.from_numpy(exists), persistent=False)

    def forward(self, features: Tensor, layers: "BMN") -> Tensor:
        """See `_SparseMatching`."""
        sampled = torch.matmul(features, self.matrix).unflatten(2, (-1, *self.exists.shape))
        maps = layers.reduce(layers.samples(sampled).relu().squeeze(2)).relu()
        for convolution in layers.context:
            maps = convolution(maps).relu()
        return layers.confidence(maps).float().sigmoid() * self.exists
