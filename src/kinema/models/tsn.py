"""TSN: Temporal Segment Networks (Wang et al., 2016, arXiv:1608.00859)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, MultipleOf
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.foreign import Configured, Foreign, Source, ToolConfig
from kinema.models.frame_attention import FrameAttention
from kinema.models.image_backbone import ImageBackbone
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, Recognizer, fold_time
from kinema.models.resnet import ResNet, ResNetOptions
from kinema.models.resnet_names import MMACTION2, TORCHVISION, TSM, by_rules, mmaction2_backbone

FLOW_SCALE = (128.0, 128.0)
"""Mean, and standard deviation, by which flow in x and y is normalized, as TSN does; 128 is no motion."""


@dataclass(kw_only=True)
class TSNOptions(ResNetOptions):
    """Options of TSN."""

    dropout: float = 0.4
    """Dropout probability of the features before the head, 0–1."""
    pool: Literal["mean", "attention"] = "mean"
    """What the head sees of the frames' features: their mean, as in the paper, or what an attentive probe gathers from
    them, which knows their order."""
    pool_width: Annotated[int, Ge(8), MultipleOf(8)] = 256
    """Channels of the attention."""
    pool_depth: Annotated[int, Ge(0)] = 1
    """Self-attention blocks before the attention of one learned query."""
    pool_parts: Annotated[int, Ge(1)] = 1
    """Equal parts of the video, of each of which the head sees the mean, one beside the other; 1: one mean, as in the
    paper. Of attention 1."""
    cells: tuple[Annotated[int, Ge(0)], Annotated[int, Ge(0)]] = (0, 0)
    """Rows and columns of cells of a frame, of each of which there are features, one beside the other, so that the head
    knows where things are: those of the last block, averaged over the cell and normalized. 0 0: the backbone's features
    of the whole frame, as in the paper."""
    cell_levels: Annotated[int, Ge(1)] = 1
    """Resolutions whose features the cells have, side by side, from the last one on, as in a feature pyramid: those of
    the last block at each resolution. 1: of the last block alone."""
    cell_differences: bool = False
    """Give cells also the absolute differences between the features of adjacent frames at the same position, averaged
    over the cell and normalized, by which the head knows what moves, and how."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.cells[0] > 0) != (self.cells[1] > 0):
            raise ValueError(f"cells {self.cells[0]} {self.cells[1]}: give rows and columns, or 0 0")
        if self.cell_levels > 1 and not any(self.cells):
            raise ValueError(f"cell_levels {self.cell_levels} is for cells: give their rows and columns, too")
        if self.cell_differences and not any(self.cells):
            raise ValueError("cell_differences is for cells: give their rows and columns, too; 1 1 is the whole frame")
        if self.pool == "attention" and self.pool_parts > 1:
            raise ValueError(f"pool_parts {self.pool_parts} is for pool mean: attention knows the order of the frames")

    def build(self) -> "TSN":
        """Return a TSN with random weights."""
        return TSN(self)

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        found = mmaction2_backbone(config, "Recognizer2D", "ResNet") if source == "mmaction2" else None
        return None if found is None else Configured(clips=False)


class SegmentRecognizer(Recognizer):
    """A 2D network on segments of a video, each one RGB frame or a few flow fields."""

    backbone: ResNet | ImageBackbone

    def __init__(
        self, options: ResNetOptions, *, pool: Callable[[int], FrameAttention] | None = None, cells: int = 0,
        levels: int = 1, parts: int = 1,
    ) -> None:  # fmt: skip
        """Initialize the weights.

        Args:
            options: of the network.
            pool: returns layers between frames' features and the head, by their channels.
            cells: of a frame, each of which has the channels of blocks, twice as many where they have differences; 0:
                the backbone's features.
            levels: of the backbone, the last blocks of which the cells have the channels.
            parts: of the video, which the head sees side by side.

        Raises:
            UserError: the backbone has fewer levels.
        """
        backbone = ImageBackbone(options) if options.backbone else ResNet(options)
        mean, std = (FLOW_SCALE, FLOW_SCALE) if options.flow_fields else (options.mean, options.std)
        if isinstance(backbone, ImageBackbone) and (mean, std) == (IMAGENET_MEAN, IMAGENET_STD):
            mean, std = backbone.traits.normalization
        of_levels = _last_levels(backbone, levels) if cells else {}
        channels = cells * sum(of_levels.values()) or backbone.out_channels
        neck = pool(channels) if pool else None
        features = neck.width if neck else channels * parts
        super().__init__(options, backbone, neck=neck, num_features=features, mean=mean, std=std)
        self.levels, self.maps = tuple(of_levels), nn.Identity()
        if isinstance(backbone, ImageBackbone) and backbone.traits.size is not None:
            self.input = replace(self.input, size=backbone.traits.size[0])

    def segments(self, clips: Tensor) -> Tensor:
        """`(N, C, T, H, W)` → normalized input of the 2D network by segment, `(N·S, in_channels, H, W)`, clip by clip.

        A segment has `in_channels` / C frames, whose channels are concatenated by frame: x1, y1, x2, y2, … of flow.
        """
        together = self.backbone.in_channels // clips.shape[1]
        frames = fold_time(self.normalize(clips))
        return frames if together == 1 else frames.unflatten(0, (-1, together)).flatten(1, 2)

    def map_layer(self) -> nn.Module:
        """The backbone, or the layer that passes on the maps of which there are cells."""
        return self.maps if self.levels else self.backbone

    def as_maps(self, output: Tensor | tuple[Tensor, ...], clips: int) -> tuple[Tensor, ...]:
        """Feature maps of the segments `(N·S, F, H', W')`, or those of each level → `(N, F, S, H', W')`."""
        maps = output if isinstance(output, tuple) else (output,)
        return tuple(each.unflatten(0, (clips, -1)).transpose(1, 2) for each in maps)


def _differences(maps: Tensor) -> Tensor:
    """Maps `(N, S, C, H, W)` → absolute differences from the frame before, of the first frame from the second."""
    frames = maps.shape[1]
    return (maps - maps[:, [min(1, frames - 1), *range(frames - 1)]]).abs()


def _last_levels(backbone: ResNet | ImageBackbone, number: int) -> dict[str, int]:
    """Return the last blocks of the `number` coarsest resolutions, by name, and their channels."""
    levels = backbone.levels()
    if number > len(levels):
        raise UserError(f"--model.cell-levels {number}: the backbone has {len(levels)} resolutions")
    return dict([*levels.items()][-number:])


class TSN(SegmentRecognizer):
    """Classifies the average feature of a video's segments, which the backbone sees one by one, or attends to them."""

    def __init__(self, options: TSNOptions) -> None:
        self.attends = options.pool == "attention"
        self.parts, self.cells, self.differences = options.pool_parts, options.cells, options.cell_differences

        def attention(channels: int) -> FrameAttention:
            width = options.pool_width
            return FrameAttention(channels, width, depth=options.pool_depth, heads=max(1, width // 64))

        rows, columns = options.cells
        super().__init__(
            options,
            pool=attention if self.attends else None,
            cells=rows * columns * (2 if self.differences else 1),
            levels=options.cell_levels,
            parts=self.parts,
        )

    def forward_features(self, clips: Tensor) -> Tensor:
        """Clips `(N, 3, S, H, W)`, S = segments, or `(N, 2, S · flow_fields, H, W)` → features `(N, F)`, averaged over
        space or its cells, and averaged over segments, in parts of the video, or attended to.
        """
        return self._pooled(self.encode(clips))

    def encode(self, clips: Tensor) -> Tensor:
        """Clips → features of each segment `(N, S, F)`, averaged over space, or normalized ones of its cells."""
        frames = self.segments(clips)
        if not any(self.cells):
            return self.backbone(frames).mean(dim=(2, 3)).unflatten(0, (clips.shape[0], -1))
        levels = [
            each.unflatten(0, (clips.shape[0], -1)) for each in self.maps(self.backbone.maps(frames, self.levels))
        ]
        if self.differences:
            levels += [_differences(each) for each in levels]
        return torch.cat([self._cells(each) for each in levels], dim=2)

    def _cells(self, maps: Tensor) -> Tensor:
        """Maps `(N, S, C, H, W)` → normalized features of the cells, one beside the other, `(N, S, cells · C)`."""
        cells = F.adaptive_avg_pool2d(maps.flatten(0, 1), self.cells).flatten(2).transpose(1, 2)
        return F.layer_norm(cells, cells.shape[-1:]).flatten(1).unflatten(0, maps.shape[:2])

    def decode(self, encoded: Tensor) -> Tensor:
        """Features of the segments `(N, S, F)` → logits `(N, num_classes)`."""
        return super().decode(self._pooled(encoded))

    def decoder_layers(self) -> list[nn.Module]:
        """The attention, if any, and the head."""
        return [self.neck, self.fc]

    def _pooled(self, features: Tensor) -> Tensor:
        """Features of the segments `(N, S, F)` → those of the clip, as the head takes them."""
        if self.attends:
            out: Tensor = self.neck(features)
            return out
        if self.parts == 1:
            return features.mean(dim=1)
        return F.adaptive_avg_pool1d(features.transpose(1, 2), self.parts).transpose(1, 2).flatten(1)

    def foreign(self, source: Source) -> Foreign | None:
        """Names in MMAction2, the TSM repository, torchvision's ResNets and timm; none of a network that attends or
        sees parts and cells.
        """
        if self.attends or self.parts > 1 or any(self.cells):
            return None
        if isinstance(self.backbone, ImageBackbone):
            return self.backbone.foreign(source)
        return by_rules(self, source, {"mmaction2": MMACTION2, "tsm": TSM, "torchvision": TORCHVISION})
