"""TimeSformer: divided space-time attention (Bertasius et al., 2021, arXiv:2102.05095)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from kinema.models.attention_gradient import AttentionGradient
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
from kinema.models.stochastic_depth import StochasticDepth
from kinema.models.transformer import (
    MLP,
    Attention,
    TransformerBackbone,
    TransformerOptions,
    check_clip,
    init_weights,
    passed_back,
    tubelets,
)


@dataclass(kw_only=True)
class TimeSformerOptions(RecognizerOptions, TransformerOptions, ForeignOptions):
    """Options of TimeSformer. The defaults are those of ViT-B on 8 frames."""

    frames: Annotated[int, Ge(1)] = 8
    """Frames of a clip."""
    dropout: float = 0.0
    """Dropout probability of the features before the head, 0–1."""
    init_std: float = 0.02
    """Standard deviation of the head's initial weights."""
    mean: RGB = PYSLOWFAST_MEAN
    """Mean of the red, green and blue pixels, on the scale 0–255."""
    std: RGB = PYSLOWFAST_STD
    """Standard deviation of the red, green and blue pixels, on the scale 0–255."""

    def build(self) -> "TimeSformer":
        """Return a TimeSformer with random weights."""
        return TimeSformer(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        return of_tool(self, weights, source, mean=PYSLOWFAST_MEAN, std=PYSLOWFAST_STD)

    def not_shown(self, source: Source) -> tuple[str, ...]:
        """See `ForeignOptions`."""
        del source
        return ("heads",)

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        if source != "transformers" or config.get("model_type") != "timesformer":
            return None
        config.expect("attention_type", "divided_space_time")
        clip = {"frames": config.get("num_frames", 8), "size": config.side("image_size", 224)}
        return Configured(taken={**cls.of_transformers(config), **clip, "norm_eps": config.get("layer_norm_eps", 1e-6)})


class TimeSformer(Recognizer):
    """A vision transformer on patches of frames, whose blocks attend over time, then over space."""

    backbone: "TimeSformerBackbone"

    def __init__(self, options: TimeSformerOptions) -> None:
        super().__init__(options, TimeSformerBackbone(options), neck=nn.LayerNorm(options.width, eps=options.norm_eps))
        self.input = replace(self.input, frames=options.frames, size=options.size)

    def forward_features(self, clips: Tensor) -> Tensor:
        """Clips → features `(N, width)` of the class token."""
        features: Tensor = self.neck(self.backbone(self.normalize(clips)))
        return features

    def roll_out(self) -> "_Rollout":
        """See `HasAttention`."""
        return _Rollout(self.backbone.embedding.clip[0])

    def layer_groups(self) -> list[list[nn.Module]]:
        """The embedding, each block, and the last norm with the head."""
        return [*self.backbone.layer_groups(), [self.neck, self.fc]]

    def foreign(self, source: Source) -> Foreign | None:
        """Names in transformers and in TimeSformer's repository."""
        if source == "timesformer":
            return Foreign(names=renamed(self, _TIMESFORMER), aliases=_TIMESFORMER_ALIASES)
        if source != "transformers":
            return None
        names = renamed(self, _TRANSFORMERS)
        names |= {
            key: name.replace("pos_embed", "position_embeddings").replace("time_embed", "time_embeddings")
            for key, name in names.items()
        }
        return Foreign(names=names)


class _Rollout:
    """Rollout from the class token through layers that attend over space and, before it, over time, in turn.

    The class token of all frames is one: after each attention over space it is their mean. See
    `kinema.models.capabilities.Rollout`.
    """

    def __init__(self, frames: int) -> None:
        self._frames, self._over_space = frames, True
        self._relevance: Tensor | None = None  # (N, T, 1 + patches)

    def through(self, layer: AttentionGradient) -> None:
        """Pass relevance on through a layer."""
        if self._relevance is None:
            frames, tokens = layer.shape
            self._relevance = torch.zeros(frames // self._frames, self._frames, tokens, device=layer.q.device)
            self._relevance[:, :, 0] = 1 / self._frames
        relevance = self._relevance
        if self._over_space:
            relevance[:, :, 0] = relevance[:, :, 0].mean(dim=1, keepdim=True)
            self._relevance = passed_back(relevance.flatten(0, 1), layer).unflatten(0, relevance.shape[:2])
        else:
            by_patch = relevance[:, :, 1:].transpose(1, 2)
            by_patch = passed_back(by_patch.flatten(0, 1), layer).unflatten(0, by_patch.shape[:2])
            self._relevance = torch.cat([relevance[:, :, :1], by_patch.transpose(1, 2)], dim=2)
        self._over_space = not self._over_space

    def positions(self) -> Tensor:
        """Relevance of the patches of all frames."""
        assert self._relevance is not None
        side = math.isqrt(self._relevance.shape[2] - 1)
        return self._relevance[:, :, 1:].unflatten(2, (side, side))


class TimeSformerBackbone(TransformerBackbone):
    """The transformer without its last norm and head: `(N, 3, T, H, W)` → the class token `(N, width)`."""

    embedding: "_Embedding"

    def __init__(self, options: TimeSformerOptions) -> None:
        super().__init__(options, out_channels=options.width)
        self.embedding = _Embedding(options)
        self.blocks = nn.Sequential(*[_Block(options, drop_path) for drop_path in options.drop_paths])
        self.apply(init_weights)
        for name, parameter in self.blocks[1:].named_parameters():
            if name.endswith("temporal_fc.weight"):
                nn.init.zeros_(parameter)
        self.freeze()

    def forward(self, x: Tensor) -> Tensor:
        """Features of clips."""
        return self.run(self.blocks, self.embedding(x))[:, 0, 0]


class _Embedding(nn.Module):
    """Tokens `(N, T, 1 + L, width)` of clips `(N, 3, T, H, W)`: in each frame the class token, then L patches.

    The class token has no position in time and is the same in all frames.
    """

    def __init__(self, options: TimeSformerOptions) -> None:
        super().__init__()
        self.clip = (options.frames, options.size, options.size)
        self.patch = options.patch
        self.proj = nn.Conv2d(3, options.width, options.patch, stride=options.patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, options.width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + (options.size // options.patch) ** 2, options.width))
        self.time_embed = nn.Parameter(torch.zeros(1, options.frames, options.width))
        nn.init.normal_(self.cls_token, std=0.02)
        nn.init.normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Embed clips; see `check_clip` for the errors."""
        check_clip(x, self.clip)
        weight = self.proj.weight.permute(0, 2, 3, 1).flatten(1)
        patches = F.linear(tubelets(x, 1, self.patch).flatten(2, 3), weight, self.proj.bias)
        patches = patches + self.pos_embed[:, None, 1:] + self.time_embed[:, :, None]
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(*patches.shape[:2], -1, -1)
        return torch.cat([cls.to(patches.dtype), patches], dim=2)


class _Block(nn.Module):
    """Attention over the frames of a patch, over the patches of a frame, and an MLP (equations 7–9 of the paper).

    The class token takes part in the attention over space only, in that of each frame, and becomes their mean.
    """

    def __init__(self, options: TimeSformerOptions, drop_path: float) -> None:
        super().__init__()
        width, eps = options.width, options.norm_eps
        self.temporal_norm1 = nn.LayerNorm(width, eps=eps)
        self.temporal_attn = Attention(width, options.heads)
        self.temporal_fc = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, options.heads)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, int(width * options.mlp_ratio))
        self.drop_path = StochasticDepth(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens `(N, T, 1 + L, width)` → the same shape; those at index 0 are equal in all frames, before and after.

        Branches are dropped for a patch, for a frame, and for a clip, in this order.
        """
        clips, frames, _, _ = x.shape
        patches = self.temporal_norm1(x)[:, :, 1:].transpose(1, 2).flatten(0, 1)
        patches = patches.contiguous()  # without gradients, torch copies a layer's weight for each row of what is not
        change = self.temporal_fc(self.drop_path(self.temporal_attn(patches)))
        change = change.unflatten(0, (clips, -1)).transpose(1, 2)
        x = torch.cat([x[:, :, :1], x[:, :, 1:] + change], dim=2)
        change = self.drop_path(self.attn(self.norm1(x).flatten(0, 1))).unflatten(0, (clips, frames))
        x = x + change
        x = torch.cat([x[:, :, :1].mean(dim=1, keepdim=True).expand(-1, frames, -1, -1), x[:, :, 1:]], dim=2)
        return x + self.drop_path(self.mlp(self.norm2(x)))


_TIMESFORMER: Rules = (
    (r"^backbone\.embedding\.proj", "patch_embed.proj"),
    (r"^backbone(\.embedding)?\b\.?", ""),
    (r"^neck$", "norm"),
    (r"^fc$", "head"),
)
_TIMESFORMER_ALIASES: Rules = ((r"^model\.", ""),)
_TRANSFORMERS: Rules = (
    (r"^backbone\.embedding\.proj", "timesformer.embeddings.patch_embeddings.projection"),
    (r"^backbone\.embedding", "timesformer.embeddings"),
    (r"^backbone\.blocks", "timesformer.encoder.layer"),
    (r"\.(temporal_)?attn\.proj$", r".\1attention.output.dense"),
    (r"\.(temporal_)?attn\.qkv$", r".\1attention.attention.qkv"),
    (r"\.temporal_norm1$", ".temporal_layernorm"),
    (r"\.temporal_fc$", ".temporal_dense"),
    (r"\.mlp\.fc1$", ".intermediate.dense"),
    (r"\.mlp\.fc2$", ".output.dense"),
    (r"\.norm1$", ".layernorm_before"),
    (r"\.norm2$", ".layernorm_after"),
    (r"^neck$", "timesformer.layernorm"),
    (r"^fc$", "classifier"),
)
