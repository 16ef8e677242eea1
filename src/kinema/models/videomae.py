"""The vision transformer of VideoMAE (Tong et al., 2022, arXiv:2203.12602) and VideoMAE V2 (Wang et al., 2023,
arXiv:2303.16727).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

import torch
import torch.nn.functional as F
from annotated_types import Gt
from torch import Tensor, nn

from kinema.models.attention_gradient import AttentionGradient
from kinema.models.foreign import (
    Configured,
    Foreign,
    ForeignOptions,
    Rules,
    Source,
    ToolConfig,
    of_tool,
    renamed,
)
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, Recognizer, RecognizerOptions
from kinema.models.transformer import (
    Block,
    TransformerBackbone,
    TubeletEmbedding,
    TubeletOptions,
    attend,
    heads_of,
    init_weights,
    passed_back,
    sin_cos_positions,
)


@dataclass(kw_only=True)
class VideoMAEOptions(RecognizerOptions, TubeletOptions, ForeignOptions):
    """Options of VideoMAE. The defaults are those of ViT-B on 16 frames."""

    cos_attn: bool = False
    """Attention by the cosine of queries and keys, times a learned factor, as an option of V2."""
    head_norm_eps: Annotated[float, Gt(0)] = 1e-6
    """Epsilon of the layer norm before the head."""
    dropout: float = 0.0
    """Dropout probability of the features before the head, 0–1."""
    init_std: float = 2e-5
    """Standard deviation of the head's initial weights."""

    def build(self) -> "VideoMAE":
        """Return a VideoMAE with random weights."""
        return VideoMAE(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        eps = (1e-12, 1e-5) if source == "transformers" else (1e-6, 1e-6)
        options = replace(self, norm_eps=eps[0], head_norm_eps=eps[1])
        return of_tool(options, weights, source, mean=IMAGENET_MEAN, std=IMAGENET_STD)

    def not_shown(self, source: Source) -> tuple[str, ...]:
        """See `ForeignOptions`."""
        del source
        return "heads", "frames", "size"

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        if source != "transformers" or config.get("model_type") != "videomae":
            return None
        config.expect("use_mean_pooling", True)
        clip = {"frames": config.get("num_frames", 16), "size": config.side("image_size", 224)}
        others = {"tubelet": config.get("tubelet_size", 2), "norm_eps": config.get("layer_norm_eps", 1e-12)}
        return Configured(taken={**cls.of_transformers(config), **clip, **others})


class VideoMAE(Recognizer):
    """A vision transformer on tubelets, with joint attention over space and time."""

    backbone: "VideoMAEBackbone"

    def __init__(self, options: VideoMAEOptions) -> None:
        super().__init__(
            options, VideoMAEBackbone(options), neck=nn.LayerNorm(options.width, eps=options.head_norm_eps)
        )
        self.input = replace(self.input, frames=options.frames, size=options.size)

    def roll_out(self) -> "_Rollout":
        """See `HasAttention`."""
        return _Rollout(self.backbone.grid)

    def layer_groups(self) -> list[list[nn.Module]]:
        """The embedding, each block, and the last norm with the head."""
        return [*self.backbone.layer_groups(), [self.neck, self.fc]]

    def foreign(self, source: Source) -> Foreign | None:
        """Names in transformers and in VideoMAE's repositories."""
        if source == "videomae":
            return Foreign(
                names=renamed(self, _VIDEOMAE),
                shapes={
                    key: (*value.shape, 1, 1) for key, value in self.state_dict().items() if key.endswith(".scale")
                },
                aliases=_VIDEOMAE_ALIASES,
                unused=r"^(decoder|encoder_to_decoder|norm)\.|^mask_token$",
                untrained=r"^(fc_norm|head)\.",
            )
        if source != "transformers" or self.backbone.cos_attn:
            return None
        names, parts = of_transformers(renamed(self, _TRANSFORMERS))
        return Foreign(
            names=names,
            parts=parts,
            aliases=TRANSFORMERS_ALIASES,
            unused=r"^(decoder|encoder_to_decoder|videomae\.layernorm)\.|^mask_token$",
            untrained=r"^(fc_norm|classifier)\.",
        )


class _Rollout:
    """Rollout from the mean of all tokens, which the head takes; see `kinema.models.capabilities.Rollout`."""

    def __init__(self, grid: tuple[int, int, int]) -> None:
        self._grid, self._start = grid, 1 / math.prod(grid)
        self._relevance: Tensor | None = None

    def through(self, layer: AttentionGradient) -> None:
        """Pass relevance on through a layer."""
        if self._relevance is None:
            self._relevance = torch.full(layer.shape, self._start, device=layer.q.device)
        self._relevance = passed_back(self._relevance, layer)

    def positions(self) -> Tensor:
        """Relevance without that of the shortcuts alone, which is equal everywhere."""
        assert self._relevance is not None
        return (self._relevance - self._start).unflatten(1, self._grid)


class VideoMAEBackbone(TransformerBackbone):
    """The transformer without its last norm and head: `(N, 3, T, H, W)` → `(N, width, T', H', W')`."""

    positions: Tensor
    embedding: TubeletEmbedding

    def __init__(self, options: VideoMAEOptions) -> None:
        super().__init__(options, out_channels=options.width)
        self.cos_attn = options.cos_attn
        self.embedding = TubeletEmbedding(
            channels=3, width=options.width, tubelet=options.tubelet, patch=options.patch,
            frames=options.frames, size=options.size,
        )  # fmt: skip
        self.grid = self.embedding.grid
        positions = sin_cos_positions(math.prod(self.grid), options.width)
        self.register_buffer("positions", positions, persistent=False)
        hidden = int(options.width * options.mlp_ratio)
        self.blocks = nn.Sequential(
            *[
                Block(
                    QVBiasAttention(options.width, options.heads, cosine=options.cos_attn),
                    width=options.width, hidden=hidden, drop_path=drop_path, eps=options.norm_eps,
                )
                for drop_path in options.drop_paths
            ]
        )  # fmt: skip
        self.apply(init_weights)
        self.freeze()

    def forward(self, x: Tensor) -> Tensor:
        """Features of clips."""
        x = self.run(self.blocks, self.embedding(x) + self.positions)
        return x.transpose(1, 2).unflatten(2, self.grid)

    def encode_tokens(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Clips `(N, 3, T, H, W)` and numbers `(N, K)` of tokens → features of these, which see only each other."""
        return self.run(self.blocks, self.embedding(x, tokens) + self.positions[tokens])


class QVBiasAttention(nn.Module):
    """Multi-head self-attention whose keys have no bias, by dot products or cosines (Liu et al., 2022, eq. 2)."""

    def __init__(self, width: int, heads: int, *, cosine: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)
        self.scale = nn.Parameter(torch.full((heads,), math.log(10))) if cosine else None

    def forward(self, x: Tensor) -> Tensor:
        """`(N, L, width)` → the same shape."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        # Contiguous, which long sequences are read faster from on a CPU.
        q, k, v = heads_of(F.linear(x, self.qkv.weight, bias), self.heads).contiguous()
        if self.scale is None:
            out: Tensor = self.proj(attend(q, k, v))
        else:
            factor = self.scale.clamp(max=math.log(100)).exp()[:, None, None]
            out = self.proj(attend((F.normalize(q, dim=3) * factor).to(v.dtype), F.normalize(k, dim=3), v, scale=1.0))
        return out


def of_transformers(names: Mapping[str, str]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    """Return `names` and `parts` of `Foreign`: transformers has queries, keys and values apart."""
    parts = {
        key: tuple(name.replace("qkv", part) for part in ("query", "key", "value"))
        for key, name in names.items()
        if name.endswith("qkv.weight")
    }
    return {key: _bias(name) for key, name in names.items() if key not in parts}, parts


def _bias(name: str) -> str:
    return name.replace("qkv.q_bias", "query.bias").replace("qkv.v_bias", "value.bias")


_VIDEOMAE: Rules = (
    (r"^backbone\.embedding", "patch_embed"),
    (r"^backbone\.", ""),
    (r"^neck$", "fc_norm"),
    (r"^fc$", "head"),
)
_VIDEOMAE_ALIASES: Rules = ((r"^(encoder|backbone)\.", ""),)
ENCODER_OF_TRANSFORMERS: Rules = (
    (r"^backbone\.embedding\.proj", "videomae.embeddings.patch_embeddings.projection"),
    (r"^backbone\.blocks", "videomae.encoder.layer"),
    (r"\.attn\.proj$", ".attention.output.dense"),
    (r"\.attn\.qkv$", ".attention.attention.qkv"),
    (r"\.attn$", ".attention.attention.qkv"),
    (r"\.mlp\.fc1$", ".intermediate.dense"),
    (r"\.mlp\.fc2$", ".output.dense"),
    (r"\.norm1$", ".layernorm_before"),
    (r"\.norm2$", ".layernorm_after"),
)
_TRANSFORMERS: Rules = (*ENCODER_OF_TRANSFORMERS, (r"^neck$", "fc_norm"), (r"^fc$", "classifier"))
TRANSFORMERS_ALIASES: Rules = ((r"\.q_bias$", ".query.bias"), (r"\.v_bias$", ".value.bias"))
"""Of transformers 4."""
