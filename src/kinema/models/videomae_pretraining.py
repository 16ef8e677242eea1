"""Pre-training network of VideoMAE (Tong et al., 2022, arXiv:2203.12602) and VideoMAE V2 (Wang et al., 2023,
arXiv:2303.16727): the encoder sees a few tokens of a clip, a light decoder reconstructs the pixels of others.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from kinema.models.capabilities import Input
from kinema.models.foreign import Foreign, Rules, Source, renamed
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, RGB, Normalize
from kinema.models.transformer import Block, TubeletOptions, check_clip, sin_cos_positions, take, tubelets
from kinema.models.videomae import (
    ENCODER_OF_TRANSFORMERS,
    TRANSFORMERS_ALIASES,
    QVBiasAttention,
    VideoMAEBackbone,
    VideoMAEOptions,
    of_transformers,
)


@dataclass(kw_only=True)
class VideoMAEPretrainingOptions(TubeletOptions):
    """Options of VideoMAE's pre-training. The defaults are those of ViT-B on 16 frames."""

    cos_attn: bool = False
    """Attention by the cosine of queries and keys, times a learned factor, as an option of V2."""
    decoder_width: Annotated[int, Ge(1)] = 384
    """Channels of a token in the decoder."""
    decoder_depth: Annotated[int, Ge(1)] = 4
    """Number of blocks of the decoder."""
    decoder_heads: Annotated[int, Ge(1)] = 6
    """Attention heads of the decoder."""
    decoder_mlp_ratio: Annotated[float, Gt(0)] = 4.0
    """Ratio of the MLP's hidden channels to `decoder_width`."""
    decoder_norm_eps: Annotated[float, Gt(0)] = 1e-6
    """Epsilon of the layer norm before the pixels."""
    gradient_checkpointing: bool = False
    """Recompute the activations of each block in the backward pass instead of storing them: less memory, more time."""
    mean: RGB = IMAGENET_MEAN
    """Mean of the red, green and blue pixels, on the scale 0–255."""
    std: RGB = IMAGENET_STD
    """Standard deviation of the red, green and blue pixels, on the scale 0–255."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoder_width % self.decoder_heads:
            raise ValueError(f"decoder_heads {self.decoder_heads} must divide decoder_width {self.decoder_width}")

    def build(self) -> "VideoMAEPretraining":
        """Return the network with random weights."""
        return VideoMAEPretraining(self)

    def pretrains(self) -> VideoMAEOptions:
        """Return the options of the recognizer whose backbone is pre-trained; see `PretrainsRecognizer`."""
        return VideoMAEOptions(
            frames=self.frames, size=self.size, patch=self.patch, tubelet=self.tubelet, width=self.width,
            depth=self.depth, heads=self.heads, mlp_ratio=self.mlp_ratio, norm_eps=self.norm_eps,
            drop_path=self.drop_path, frozen_stages=self.frozen_stages, cos_attn=self.cos_attn,
            gradient_checkpointing=self.gradient_checkpointing, mean=self.mean, std=self.std,
        )  # fmt: skip


class VideoMAEPretraining(nn.Module):
    """Encoder of visible tokens and decoder of hidden ones.

    Tokens are numbered by time, height and width: token `(t, y, x)` of the grid `(T', H', W')` is
    `(t · H' + y) · W' + x`.
    """

    decoder_positions: Tensor

    def __init__(self, options: VideoMAEPretrainingOptions) -> None:
        super().__init__()
        self.input = Input(channels=3, frames=options.frames, size=options.size, mean=options.mean, std=options.std)
        self.tubelet, self.patch = options.tubelet, options.patch
        self.normalize = Normalize(options.mean, options.std)
        # The recognizer's backbone: `--init` gives its weights to a fine-tuning by their names.
        self.backbone = VideoMAEBackbone(options.pretrains())
        self.norm = nn.LayerNorm(options.width, eps=options.norm_eps)
        self.to_decoder = nn.Linear(options.width, options.decoder_width, bias=False)
        self.mask_token = _Token(options.decoder_width)
        hidden = int(options.decoder_width * options.decoder_mlp_ratio)
        self.decoder = nn.Sequential(
            *[
                Block(
                    QVBiasAttention(options.decoder_width, options.decoder_heads, cosine=options.cos_attn),
                    width=options.decoder_width, hidden=hidden, drop_path=0.0, eps=options.norm_eps,
                )
                for _ in range(options.decoder_depth)
            ]
        )  # fmt: skip
        self.decoder_norm = nn.LayerNorm(options.decoder_width, eps=options.decoder_norm_eps)
        self.to_pixels = nn.Linear(options.decoder_width, 3 * options.tubelet * options.patch**2)
        positions = sin_cos_positions(math.prod(self.grid), options.decoder_width)
        self.register_buffer("decoder_positions", positions, persistent=False)
        self.apply(_init_weights)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens of a clip by time, height and width."""
        return self.backbone.embedding.grid

    def forward(self, clips: Tensor, visible: Tensor, decoded: Tensor) -> Tensor:
        """Reconstruct the pixels of some tokens from others.

        Args:
            clips: `(N, 3, T, H, W)`, uint8 pixels or normalized floats.
            visible: `(N, V)` int64, numbers of the tokens that the encoder sees.
            decoded: `(N, D)` int64, numbers of the tokens to reconstruct.

        Returns:
            `(N, D, P)`: of each decoded token its P = tubelet · patch · patch · 3 pixels, in the order of `tubelets`.

        Raises:
            UserError: the clips have another size than the network is built for.
        """
        encoded = self.norm(self.backbone.encode_tokens(self.normalize(clips), visible))
        seen = self.to_decoder(encoded) + self.decoder_positions[visible]
        hidden = self.mask_token() + self.decoder_positions[decoded]
        tokens = self.backbone.run(self.decoder, torch.cat([seen, hidden], dim=1))
        pixels: Tensor = self.to_pixels(self.decoder_norm(tokens[:, -decoded.shape[1] :]))
        return pixels

    def targets(self, clips: Tensor, decoded: Tensor, *, normalize: bool) -> Tensor:
        """Return the pixels that `forward` reconstructs, `(N, D, P)` float32 on the scale 0–1.

        Args:
            clips: `(N, 3, T, H, W)` uint8.
            decoded: `(N, D)` int64, numbers of tokens.
            normalize: subtract each token's mean and divide by its standard deviation, by channel (section 3.2).
        """
        check_clip(clips, self.backbone.embedding.clip)
        pixels = tubelets(clips, self.tubelet, self.patch).flatten(1, 3)
        values = take(pixels, decoded).float() / 255
        return standardized(values) if normalize else values

    def further_inputs(self, count: int) -> tuple[Tensor, Tensor]:
        """Return `visible` and `decoded` of `count` clips, a tenth and the rest of the tokens."""
        tokens = torch.arange(math.prod(self.grid)).expand(count, -1)
        seen = max(1, tokens.shape[1] // 10)
        return tokens[:, :seen], tokens[:, seen:]

    def blocks(self) -> list[nn.Module]:
        """Blocks of the encoder and of the decoder."""
        return [*self.backbone.blocks, *self.decoder]

    def compile_units(self) -> list[nn.Module]:
        """Blocks, of which those of one width are compiled once."""
        return self.blocks()

    def layer_groups(self) -> list[list[nn.Module]]:
        """The embedding, each block of the encoder, and the decoder with what is before and after it."""
        last = [self.norm, self.to_decoder, self.mask_token, self.decoder, self.decoder_norm, self.to_pixels]
        return [*self.backbone.layer_groups(), last]

    def foreign(self, source: Source) -> Foreign | None:
        """Names in transformers and in VideoMAE's repositories."""
        shapes = {"mask_token.weight": (1, 1, self.to_decoder.out_features)}
        if source == "videomae":
            return Foreign(names={**renamed(self, _VIDEOMAE), **_MASK_TOKEN}, shapes=shapes)
        if source != "transformers" or self.backbone.cos_attn:
            return None
        names, parts = of_transformers(renamed(self, _TRANSFORMERS))
        return Foreign(names={**names, **_MASK_TOKEN}, parts=parts, shapes=shapes, aliases=TRANSFORMERS_ALIASES)


class _Token(nn.Module):
    """A learned token, `(width,)`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))

    def forward(self) -> Tensor:
        """The token."""
        return self.weight


def standardized(pixels: Tensor) -> Tensor:
    """Pixels of tokens `(N, D, P)`, each channel of a token with mean 0 and standard deviation 1 (section 3.2)."""
    channels = pixels.unflatten(2, (-1, 3))
    mean, std = channels.mean(dim=2, keepdim=True), channels.std(dim=2, keepdim=True)
    return ((channels - mean) / (std + 1e-6)).flatten(2)


def _init_weights(module: nn.Module) -> None:
    """Initialize linear layers as the repository does: weights by Glorot & Bengio (2010), biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


_MASK_TOKEN = {"mask_token.weight": "mask_token"}
_VIDEOMAE: Rules = (
    (r"^backbone\.embedding", "encoder.patch_embed"),
    (r"^backbone\.", "encoder."),
    (r"^norm$", "encoder.norm"),
    (r"^to_decoder$", "encoder_to_decoder"),
    (r"^decoder\.", "decoder.blocks."),
    (r"^decoder_norm$", "decoder.norm"),
    (r"^to_pixels$", "decoder.head"),
)
_TRANSFORMERS: Rules = (
    *ENCODER_OF_TRANSFORMERS,
    (r"^norm$", "videomae.layernorm"),
    (r"^to_decoder$", "encoder_to_decoder"),
    (r"^decoder\.(?=\d)", "decoder.decoder_layers."),
    (r"^decoder_norm$", "decoder.norm"),
    (r"^to_pixels$", "decoder.head"),
)
