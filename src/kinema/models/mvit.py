"""MViTv2: improved multiscale vision transformers (Li et al., 2022, arXiv:2112.01526): torchvision's network."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Annotated, Self

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models import video
from torchvision.models.video.mvit import MSBlockConfig

from kinema.models.backbone import Backbone, Depths, FrozenStages
from kinema.models.convolution import replace_convolutions
from kinema.models.foreign import (
    PYSLOWFAST_MEAN,
    PYSLOWFAST_STD,
    Foreign,
    ForeignOptions,
    Rules,
    Source,
    of_tool,
)
from kinema.models.recognizer import RGB, Recognizer, RecognizerOptions
from kinema.models.resnet_names import by_rules


@dataclass(kw_only=True)
class MViTOptions(RecognizerOptions, ForeignOptions):
    """Options of MViTv2. The defaults are those of MViTv2-S, 16x4."""

    init_std: float = 0.02
    """Standard deviation of the head's initial weights."""
    frames: Annotated[int, Ge(2)] = 16
    """Frames of the clips that the relative positions are for; those of other clips are interpolated."""
    size: Annotated[int, Ge(32)] = 224
    """Height and width in pixels that the relative positions are for; those of other sizes are interpolated."""
    width: Annotated[int, Ge(4)] = 96
    """Channels of the first stage and of a head; each further stage has twice as many channels and heads."""
    depths: Depths = (1, 2, 11, 2)
    """Blocks of each stage."""
    drop_path: Annotated[float, Interval(ge=0, lt=1)] = 0.2
    """Stochastic depth (Huang et al. 2016): probability that the last block's branches are dropped for a clip; that of
    earlier blocks is smaller in proportion to their depth."""
    frozen_stages: FrozenStages = -1
    """Freeze the stem (0), or the stem and the first 1–4 stages: no gradients, eval mode; -1 trains everything."""
    mean: RGB = PYSLOWFAST_MEAN
    """Mean of the red, green and blue pixels, on the scale 0–255."""
    std: RGB = PYSLOWFAST_STD
    """Standard deviation of the red, green and blue pixels, on the scale 0–255."""

    def build(self) -> "MViT":
        """Return an MViTv2 with random weights."""
        return MViT(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        return of_tool(self, weights, source, mean=PYSLOWFAST_MEAN, std=PYSLOWFAST_STD)


class MViT(Recognizer):
    """A transformer that pools its tokens from stage to stage, and keys and values even more."""

    def __init__(self, options: MViTOptions) -> None:
        super().__init__(options, MViTBackbone(options))

    def foreign(self, source: Source) -> Foreign | None:
        """Names in torchvision."""
        return by_rules(self, source, {"torchvision": _TORCHVISION})


class MViTBackbone(Backbone):
    """`(N, 3, T, H, W)` → the class token as features `(N, 8 · width, 1, 1, 1)`."""

    def __init__(self, options: MViTOptions) -> None:
        super().__init__(options, out_channels=8 * options.width)
        network = video.MViT(
            spatial_size=(options.size, options.size),
            temporal_size=options.frames,
            block_setting=_settings(options),
            residual_pool=True,
            residual_with_cls_embed=False,
            rel_pos_embed=True,
            proj_after_attn=True,
            stochastic_depth_prob=options.drop_path,
        )
        replace_convolutions(network)
        self.depths = options.depths
        self.conv_proj, self.pos_encoding = network.conv_proj, network.pos_encoding
        self.blocks, self.norm = network.blocks, network.norm
        self.freeze()

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The four stages of blocks."""
        ends = [sum(self.depths[:i]) for i in range(5)]
        return tuple(nn.Sequential(*self.blocks[start:end]) for start, end in pairwise(ends))

    def stem_layers(self) -> list[nn.Module]:
        """See `Backbone`."""
        return [self.conv_proj, self.pos_encoding]

    def layer_groups(self) -> list[list[nn.Module]]:
        """The stem, the stages, and the last norm."""
        return [*super().layer_groups(), [self.norm]]

    def compile_units(self) -> list[nn.Module]:
        """Blocks, as they are called one by one."""
        return list(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Features of clips."""
        x = self.conv_proj(x)
        shape = tuple(x.shape[2:])
        x = self.pos_encoding(x.flatten(2).transpose(1, 2))
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        for block in self.blocks:
            call = partial(checkpoint, block, use_reentrant=False) if recompute else block
            x, shape = call(x, shape)
        return self.norm(x)[:, 0, :, None, None, None]


def _settings(options: MViTOptions) -> list[MSBlockConfig]:
    """Sizes of each block (Table 1): a stage's first block doubles channels and heads, and halves height and width."""
    blocks = [(stage, i) for stage, depth in enumerate(options.depths) for i in range(depth)]
    return [
        MSBlockConfig(
            num_heads=2**stage,
            input_channels=options.width * 2 ** (stage - (stage > 0 and i == 0)),
            output_channels=options.width * 2**stage,
            kernel_q=[3, 3, 3],
            kernel_kv=[3, 3, 3],
            stride_q=[1, 2, 2] if stage > 0 and i == 0 else [1, 1, 1],
            stride_kv=[1, 8 >> stage, 8 >> stage],
        )
        for stage, i in blocks
    ]


_TORCHVISION: Rules = ((r"^backbone\.", ""), (r"^fc$", "head.1"))
