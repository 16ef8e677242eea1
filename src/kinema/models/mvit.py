"""MViTv2: improved multiscale vision transformers (Li et al., 2022, arXiv:2112.01526): torchvision's network."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Self

import torch
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kinema.models.backbone import Backbone, Depths, FrozenStages
from kinema.models.convolution import replace_convolutions
from kinema.models.foreign import (
    PYSLOWFAST_MEAN,
    PYSLOWFAST_STD,
    Configured,
    Foreign,
    ForeignOptions,
    Rules,
    Source,
    ToolConfig,
    of_tool,
    renamed,
)
from kinema.models.recognizer import RGB, Recognizer, RecognizerOptions
from kinema.models.resnet_names import by_rules

if TYPE_CHECKING:
    from torchvision.models.video.mvit import MSBlockConfig


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
        sizes: dict[str, int] = {}
        for key, value in weights.items():
            if key.endswith("blocks.0.attn.rel_pos_t"):
                sizes["frames"] = value.shape[0] + 1
            if key.endswith("blocks.0.attn.rel_pos_h"):
                sizes["size"] = 2 * (value.shape[0] + 1)
        return of_tool(self, weights, source, mean=PYSLOWFAST_MEAN, std=PYSLOWFAST_STD, **sizes)

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        if source != "pyslowfast" or config.get("MODEL.ARCH") != "mvit":
            return None
        for key, value in _PYSLOWFAST_VALUES.items():
            config.expect(f"MVIT.{key}", value)
        starts = [start for start, _ in config.get("MVIT.DIM_MUL", [])]
        config.expect("MVIT.DIM_MUL", [[start, 2.0] for start in starts])
        config.expect("MVIT.HEAD_MUL", [[start, 2.0] for start in starts])
        depth = config.get("MVIT.DEPTH", 16)
        config.expect("MVIT.POOL_Q_STRIDE", [[i, *((1, 2, 2) if i in starts else (1, 1, 1))] for i in range(depth)])
        return Configured(options={"depths": tuple(end - start for start, end in pairwise([0, *starts, depth]))})


class MViT(Recognizer):
    """A transformer that pools its tokens from stage to stage, and keys and values even more."""

    backbone: "MViTBackbone"

    def __init__(self, options: MViTOptions) -> None:
        super().__init__(options, MViTBackbone(options))

    def map_layer(self) -> nn.Module:
        """The norm before the last attention, whose tokens the class token gathers."""
        norm: nn.Module = self.backbone.blocks[-1].norm1
        return norm

    def as_maps(self, output: Tensor, clips: int) -> tuple[Tensor, ...]:
        """Class token and tokens `(N, 1 + L, C)` → `(N, C, T', H', W')`, of clips whose height is their width."""
        del clips
        frames = self.backbone.grid_frames
        side = math.isqrt((output.shape[1] - 1) // frames)
        return (output[:, 1:].transpose(1, 2).unflatten(2, (frames, side, side)),)

    def foreign(self, source: Source) -> Foreign | None:
        """Names in torchvision and PySlowFast."""
        if source != "pyslowfast":
            return by_rules(self, source, {"torchvision": _TORCHVISION})
        token = "backbone.pos_encoding.class_token"
        width = self.backbone.pos_encoding.class_token.shape[0]
        return Foreign(names=renamed(self, _PYSLOWFAST) | {token: "cls_token"}, shapes={token: (1, 1, width)})


class MViTBackbone(Backbone):
    """`(N, 3, T, H, W)` → the class token as features `(N, 8 · width, 1, 1, 1)`."""

    def __init__(self, options: MViTOptions) -> None:
        from torchvision.models import video

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
        self.grid_frames = 0
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
        self.grid_frames = shape[0]
        x = self.pos_encoding(x.flatten(2).transpose(1, 2))
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        for block in self.blocks:
            call = partial(checkpoint, _on_its_device, use_reentrant=False) if recompute else _on_its_device
            x, shape = call(block, x, shape)
        return self.norm(x)[:, 0, :, None, None, None]


def _on_its_device(block: nn.Module, x: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """Call a block, which makes indices on the default device: from a CPU each would be copied, and waited for."""
    if x.device.type == "cpu":
        return block(x, shape)
    with x.device:
        return block(x, shape)


def _settings(options: MViTOptions) -> "list[MSBlockConfig]":
    """Sizes of each block (Table 1): a stage's first block doubles channels and heads, and halves height and width."""
    from torchvision.models.video.mvit import MSBlockConfig

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
_PYSLOWFAST: Rules = (
    (r"^backbone\.conv_proj$", "patch_embed.proj"),
    (r"^backbone\.", ""),
    (r"\.project\.0$", ".proj"),
    (r"\.project$", ".proj"),
    (r"\.pool_([qkv])\.pool$", r".pool_\1"),
    (r"\.pool_([qkv])\.norm_act\.0$", r".norm_\1"),
    (r"\.mlp\.0$", ".mlp.fc1"),
    (r"\.mlp\.3$", ".mlp.fc2"),
    (r"^fc$", "head.projection"),
)
_PYSLOWFAST_VALUES: Mapping[str, object] = {
    "MODE": "conv",
    "POOL_FIRST": False,
    "SEPARATE_QKV": False,
    "PATCH_2D": False,
    "PATCH_KERNEL": [3, 7, 7],
    "PATCH_STRIDE": [2, 4, 4],
    "PATCH_PADDING": [1, 3, 3],
    "POOL_KVQ_KERNEL": [3, 3, 3],
    "POOL_KV_STRIDE_ADAPTIVE": [1, 8, 8],
    "NUM_HEADS": 1,
    "MLP_RATIO": 4.0,
    "QKV_BIAS": True,
    "CLS_EMBED_ON": True,
    "USE_ABS_POS": False,
    "REL_POS_SPATIAL": True,
    "REL_POS_TEMPORAL": True,
    "RESIDUAL_POOLING": True,
    "DIM_MUL_IN_ATT": True,
    "NORM_STEM": False,
    "USE_MEAN_POOLING": False,
}
"""Of PySlowFast's options of transformers, as its MViTv2 have them."""
