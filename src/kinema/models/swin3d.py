"""Video Swin Transformer (Liu et al., 2022, arXiv:2106.13230): torchvision's network."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from annotated_types import Ge, Interval
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.backbone import Backbone, Depths, FrozenStages
from kinema.models.convolution import replace_convolutions
from kinema.models.foreign import Foreign, ForeignOptions, Rules, Source, of_tool
from kinema.models.pretrained import imagenet_weights
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, Recognizer, RecognizerOptions
from kinema.models.resnet_names import by_rules

_HEAD_DIM = 32
"""Channels of an attention head."""


@dataclass(kw_only=True)
class Swin3DOptions(RecognizerOptions, ForeignOptions):
    """Options of the Video Swin Transformer. The defaults are those of Swin-T."""

    init_std: float = 0.02
    """Standard deviation of the head's initial weights."""
    width: Annotated[int, Ge(8)] = 96
    """Channels of the first stage; each further stage has twice as many. 96 in Swin-T and S, 128 in Swin-B."""
    depths: Depths = (2, 2, 6, 2)
    """Blocks of each stage. 2, 2, 6, 2 in Swin-T; 2, 2, 18, 2 in Swin-S and B."""
    window_size: tuple[int, int, int] = (8, 7, 7)
    """Frames, height and width of the attention windows in patches of 2×4×4 pixels."""
    drop_path: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    """Stochastic depth (Huang et al. 2016): probability that the last block's branches are dropped for a clip; that of
    earlier blocks is smaller in proportion to their depth."""
    frozen_stages: FrozenStages = -1
    """Freeze the stem (0), or the stem and the first 1–4 stages: no gradients, eval mode; -1 trains everything."""
    pretrained: Literal["imagenet", "none"] = "none"
    """Initial weights of the backbone: torchvision's ImageNet weights of the 2D network, downloaded once, or none."""

    def __post_init__(self) -> None:
        for channels in (self.width * 2**stage for stage in range(4)):
            if channels % _heads(channels):
                raise ValueError(f"width {self.width}: {channels} channels do not divide into heads of {_HEAD_DIM}")

    def build(self) -> "Swin3D":
        """Return a Video Swin Transformer with random weights."""
        return Swin3D(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        return of_tool(self, weights, source, mean=IMAGENET_MEAN, std=IMAGENET_STD)


class Swin3D(Recognizer):
    """A transformer whose attention is within windows, which every second block shifts by half their size."""

    def __init__(self, options: Swin3DOptions) -> None:
        super().__init__(options, Swin3DBackbone(options))

    def foreign(self, source: Source) -> Foreign | None:
        """Names in torchvision."""
        return by_rules(self, source, {"torchvision": _TORCHVISION})


class Swin3DBackbone(Backbone):
    """`(N, 3, T, H, W)` → `(N, 8 · width, T/2, H/32, W/32)`, sizes rounded up; of any length and size."""

    def __init__(self, options: Swin3DOptions) -> None:
        from torchvision.models import video

        super().__init__(options, out_channels=8 * options.width)
        self.depths, self.window_size = options.depths, options.window_size
        network = video.SwinTransformer3d(
            patch_size=[2, 4, 4],
            embed_dim=options.width,
            depths=list(options.depths),
            num_heads=[_heads(options.width * 2**i) for i in range(4)],
            window_size=list(options.window_size),
            stochastic_depth_prob=options.drop_path,
        )
        replace_convolutions(network)
        self.patch_embed, self.features, self.norm = network.patch_embed, network.features, network.norm
        self.freeze()

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The four stages of blocks."""
        return tuple(self.features[::2])

    def stem_layers(self) -> list[nn.Module]:
        """See `Backbone`."""
        return [self.patch_embed]

    def layer_groups(self) -> list[list[nn.Module]]:
        """The stem, the stages, each with the patch merging before it, and the last norm."""
        first, *others = self.stages
        merged = [[merging, stage] for merging, stage in zip(self.features[1::2], others, strict=True)]
        return [self.stem_layers(), [first], *merged, [self.norm]]

    def forward(self, x: Tensor) -> Tensor:
        """Features of clips."""
        x = self.patch_embed(x)
        for i, layer in enumerate(self.features):
            x = layer(x) if i % 2 else self.run(layer, x)
        return self.norm(x).movedim(-1, 1)

    def load_pretrained(self, name: str, read: object) -> None:  # noqa: ARG002
        """Fill the backbone with torchvision's ImageNet weights of the 2D network of the same size, inflated.

        The patch embedding is repeated over its two frames and halved, position biases are the same for all distances
        in time (section 3.3): a clip of one repeated image has the image's features.

        Raises:
            UserError: There are none of this size, or they cannot be had.
        """
        frames, *window = self.window_size
        network = _IMAGENET.get((self.out_channels // 8, self.depths))
        if network is None or window != [7, 7]:
            raise UserError(
                "model.pretrained: ImageNet weights exist for model.width 96 with model.depths 2 2 6 2 or 2 2 18 2, "
                "and for 128 with 2 2 18 2, all with a model.window_size of 7 x 7; "
                "train from scratch with --model.pretrained none"
            )
        weights = {}
        for key, value in imagenet_weights(network).items():
            key = re.sub(r"^features\.(\d+)\.", lambda found: f"features.{int(found[1]) - 1}.", key)
            key = key.replace("features.-1.0.", "patch_embed.proj.").replace("features.-1.2.", "patch_embed.norm.")
            if key.endswith("relative_position_bias_table"):
                weights[key] = value.repeat(2 * frames - 1, 1)
            elif key == "patch_embed.proj.weight":
                weights[key] = value.unsqueeze(2).repeat(1, 1, 2, 1, 1) / 2
            elif not key.startswith("head.") and not key.endswith("relative_position_index"):
                weights[key] = value
        self.load_state_dict(self.state_dict() | weights)


_IMAGENET = {(96, (2, 2, 6, 2)): "Swin_T", (96, (2, 2, 18, 2)): "Swin_S", (128, (2, 2, 18, 2)): "Swin_B"}
"""Width and depths → torchvision's 2D network."""


def _heads(channels: int) -> int:
    return max(1, channels // _HEAD_DIM)


_TORCHVISION: Rules = ((r"^backbone\.", ""), (r"^fc$", "head"))
