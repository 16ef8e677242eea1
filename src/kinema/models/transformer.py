"""Parts of video transformers: tubelet embedding, attention, pre-norm blocks."""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.acceleration import accelerated
from kinema.models.attention_gradient import AttentionGradient, is_watched, watch_attention
from kinema.models.backbone import Backbone
from kinema.models.foreign import ToolConfig
from kinema.models.stochastic_depth import StochasticDepth

_SHORT = 224
"""Tokens of a short sequence: those of a frame of 14×14 and a class token are one."""


@dataclass(kw_only=True)
class TransformerOptions:
    """Options of every vision transformer. The defaults are those of ViT-B."""

    frames: Annotated[int, Ge(1)] = 16
    """Frames of a clip."""
    size: Annotated[int, Ge(1)] = 224
    """Height and width of a clip, px."""
    patch: Annotated[int, Ge(1)] = 16
    """Height and width of a token, px."""
    width: Annotated[int, Ge(1)] = 768
    """Channels of a token."""
    depth: Annotated[int, Ge(1)] = 12
    """Number of blocks."""
    heads: Annotated[int, Ge(1)] = 12
    """Attention heads, which share the channels."""
    mlp_ratio: Annotated[float, Gt(0)] = 4.0
    """Ratio of the MLP's hidden channels to `width`."""
    norm_eps: Annotated[float, Gt(0)] = 1e-6
    """Epsilon of the layer norms."""
    drop_path: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Stochastic depth (Huang et al. 2016): probability that the last block's branches are dropped for a clip; that of
    earlier blocks is smaller in proportion to their depth."""
    frozen_stages: Annotated[int, Ge(-1)] = -1
    """Freeze the embedding (0), or the embedding and as many blocks: no gradients, eval mode; -1 trains everything."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} must divide width {self.width}")
        if self.size % self.patch:
            raise ValueError(f"patch {self.patch} must divide size {self.size}")
        if self.frozen_stages > self.depth:
            raise ValueError(f"frozen_stages {self.frozen_stages} must not exceed depth {self.depth}")

    @staticmethod
    def of_transformers(config: ToolConfig) -> dict[str, object]:
        """Return the options that a `config.json` of the package transformers has, with the package's defaults."""
        config.expect("num_channels", 3)
        config.expect("in_chans", 3)
        config.expect("hidden_act", "gelu")
        config.expect("qkv_bias", True)
        config.expect("qv_bias", True)
        width = config.get("hidden_size", 768)
        return {
            "patch": config.side("patch_size", 16),
            "width": width,
            "depth": config.get("num_hidden_layers", 12),
            "heads": config.get("num_attention_heads", 12),
            "mlp_ratio": config.get("mlp_ratio") or config.get("intermediate_size", 3072) / width,
        }

    @property
    def drop_paths(self) -> list[float]:
        """Drop-path probability of each block."""
        return [self.drop_path * block / max(self.depth - 1, 1) for block in range(self.depth)]


@dataclass(kw_only=True)
class TubeletOptions(TransformerOptions):
    """Options of vision transformers whose tokens span several frames."""

    tubelet: Annotated[int, Ge(1)] = 2
    """Frames of a token."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames % self.tubelet:
            raise ValueError(f"tubelet {self.tubelet} must divide frames {self.frames}")


class TransformerBackbone(Backbone):
    """An embedding and blocks of one width. Subclasses define `embedding`, `blocks` and `forward`."""

    embedding: nn.Module
    blocks: nn.Sequential

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """All blocks."""
        return (self.blocks,)

    def stem_layers(self) -> list[nn.Module]:
        """See `Backbone`."""
        return [self.embedding]

    def layer_groups(self) -> list[list[nn.Module]]:
        """The embedding, then each block."""
        blocks: list[list[nn.Module]] = [[block] for block in self.blocks]
        return [self.stem_layers(), *blocks]

    def compile_units(self) -> list[nn.Module]:
        """Blocks, which are alike and compiled once."""
        return [*self.blocks]


class TubeletEmbedding(nn.Module):
    """Linear embedding of the tubelets (`tubelet` frames × `patch` × `patch` px) of a clip.

    The weight has the shape of the equivalent convolution's, `(width, channels, tubelet, patch, patch)`.
    """

    def __init__(self, *, channels: int, width: int, tubelet: int, patch: int, frames: int, size: int) -> None:
        """Initialize the projection.

        Args:
            channels: channels of a pixel.
            width: channels of a token.
            tubelet: frames of a token.
            patch: height and width of a token.
            frames: frames of the clips.
            size: height and width of the clips.
        """
        super().__init__()
        self.clip = (frames, size, size)
        self.grid = (frames // tubelet, size // patch, size // patch)
        self.proj = nn.Conv3d(channels, width, (tubelet, patch, patch), stride=(tubelet, patch, patch))

    def forward(self, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        """`(N, channels, T, H, W)` → tokens `(N, L, width)` ordered by time, height and width.

        Args:
            x: clips.
            tokens: numbers `(N, K)` of the tokens to embed; default: all L.

        Raises:
            UserError: the clips have another size than the network is built for.
        """
        check_clip(x, self.clip)
        tubelet, patch, _ = self.proj.kernel_size
        pixels = tubelets(x, tubelet, patch).flatten(1, 3)
        weight = self.proj.weight.permute(0, 2, 3, 4, 1).flatten(1)
        return F.linear(pixels if tokens is None else take(pixels, tokens), weight, self.proj.bias)


def check_clip(x: Tensor, clip: tuple[int, int, int]) -> None:
    """Check that `x`, `(N, C, T, H, W)`, has the frames, height and width `clip`.

    Raises:
        UserError: it has others.
    """
    if tuple(x.shape[2:]) != clip:
        (frames, height, width), (own, size, _) = x.shape[2:], clip
        raise UserError(
            f"clips of {frames} frames of {height}×{width} px, but the model takes {own} of {size}×{size}: "
            "change model.frames and model.size, or the clips' sampling and crops"
        )


def tubelets(x: Tensor, tubelet: int, patch: int) -> Tensor:
    """Pixels of tubelets: `(N, C, T, H, W)` → `(N, T / tubelet, H / patch, W / patch, tubelet · patch · patch · C)`.

    Pixels are in the memory order of channels-last clips, to copy runs of `patch` · C numbers.
    """
    x = x.unflatten(4, (-1, patch)).unflatten(3, (-1, patch)).unflatten(2, (-1, tubelet))
    return x.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4)


def take(x: Tensor, tokens: Tensor) -> Tensor:
    """Some tokens of each clip: `(N, L, C)` and their numbers `(N, K)` → `(N, K, C)`."""
    return x.gather(1, tokens[..., None].expand(-1, -1, x.shape[2]))


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017, section 3.2.2), `(N, L, width)` → the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Attend from each token to all."""
        out: Tensor = self.proj(attend(*heads_of(self.qkv(x), self.heads)))
        return out


def heads_of(qkv: Tensor, heads: int) -> Tensor:
    """Queries, keys and values `(N, L, 3 · width)` → `(3, N, heads, L, width / heads)`; a view."""
    return qkv.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)


def attend(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
    """Attention of queries, keys and values `(N, heads, L, d)` → `(N, L, heads · d)`.

    Args:
        q, k, v: queries, keys and values.
        scale: factor on the products of queries and keys; default: 1/√d.
    """
    if _is_slow_by_torch(q, k, v):
        out = (q * (q.shape[-1] ** -0.5 if scale is None else scale) @ k.transpose(2, 3)).softmax(dim=3) @ v
    else:
        out = F.scaled_dot_product_attention(q, k, v, scale=scale)
    if is_watched():
        watch_attention(q, k, v, out, q.shape[-1] ** -0.5 if scale is None else scale)
    return out.transpose(1, 2).flatten(2)


def _is_slow_by_torch(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Return whether torch's gradients take up to ten times as long as products': bf16, short sequences, on a CPU."""
    return (
        accelerated()
        and torch.is_grad_enabled()
        and q.device.type == "cpu"
        and q.dtype is k.dtype is v.dtype is torch.bfloat16
        and k.shape[2] <= _SHORT
    )


def passed_back(relevance: Tensor, layer: AttentionGradient) -> Tensor:
    """Return the relevance of the inputs of self-attention beside a shortcut, from that of its outputs, `(N, L)`.

    It is r + r Ā, so that of several layers a row of the product of all I + Ā (Chefer et al., 2021, arXiv:2103.15679,
    equation 6; Abnar & Zuidema, 2020, arXiv:2005.00928).
    """
    return relevance + layer.pass_on(relevance)


class MLP(nn.Module):
    """Two linear layers with GELU between them, `(…, width)` → the same shape."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers to each token."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """Attention and MLP, each after a layer norm and beside a shortcut, `(N, L, width)` → the same shape."""

    def __init__(self, attn: nn.Module, *, width: int, hidden: int, drop_path: float, eps: float) -> None:
        """Initialize the norms and the MLP.

        Args:
            attn: attention, `(N, L, width)` → the same shape.
            width: channels of a token.
            hidden: hidden channels of the MLP.
            drop_path: probability that a branch is dropped for a clip.
            eps: epsilon of the layer norms.
        """
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = attn
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, hidden)
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        """Tokens `(N, L, width)` → the same shape; `more` goes to the attention."""
        x = x + self.drop_path(self.attn(self.norm1(x), *more))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def init_weights(module: nn.Module) -> None:
    """Initialize linear layers, for `nn.Module.apply`: weights from N(0, 0.02²), biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def sin_cos_positions(count: int, width: int) -> Tensor:
    """Position embedding `(count, width)` in float32, computed in float64 (Vaswani et al., 2017, section 3.5).

    Even channels j hold sin(position / 10000^(j / width)), odd ones the cosine of the same angle.
    """
    channels = torch.arange(width, dtype=torch.float64)
    angles = torch.arange(count, dtype=torch.float64)[:, None] / 10000 ** (channels // 2 * 2 / width)
    return torch.where(channels % 2 == 0, angles.sin(), angles.cos()).float()
