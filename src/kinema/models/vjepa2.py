"""V-JEPA 2: vision transformers pre-trained to predict features of masked video (Assran et al., 2025,
arXiv:2506.09985), with an attentive probe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from kinema.models.attention_gradient import AttentionGradient
from kinema.models.attentive_probe import AttentiveProbe, scale_residuals
from kinema.models.foreign import Configured, Foreign, ForeignOptions, Rules, Source, ToolConfig, of_tool, renamed
from kinema.models.recognizer import Recognizer, RecognizerOptions
from kinema.models.transformer import (
    Block,
    TransformerBackbone,
    TubeletEmbedding,
    TubeletOptions,
    attend,
    init_weights,
    passed_back,
)


@dataclass(kw_only=True)
class VJEPA2Options(RecognizerOptions, TubeletOptions, ForeignOptions):
    """Options of V-JEPA 2. The defaults are those of ViT-L."""

    frames: Annotated[int, Ge(1)] = 16
    """Frames of a clip. The input may be several clips, one after the other: the encoder sees each by itself, the probe
    the tokens of all."""
    size: Annotated[int, Ge(1)] = 256
    """Height and width of a clip, px."""
    width: Annotated[int, Ge(1)] = 1024
    """Channels of a token: 1024 of ViT-L, 1280 of ViT-H, 1408 of ViT-g."""
    depth: Annotated[int, Ge(1)] = 24
    """Number of blocks of the encoder: 24, 32 and 40."""
    heads: Annotated[int, Ge(1)] = 16
    """Attention heads of the encoder, which share the channels: 16, 16 and 22."""
    mlp_ratio: Annotated[float, Gt(0)] = 4.0
    """Ratio of the encoder's MLPs' hidden channels to `width`: 4, 4 and 48/11."""
    probe_depth: Annotated[int, Ge(0)] = 3
    """Number of self-attention blocks of the probe, before its cross-attention."""
    probe_heads: Annotated[int, Ge(1)] = 16
    """Attention heads of the probe, which share the channels."""
    probe_eps: Annotated[float, Gt(0)] = 1e-5
    """Epsilon of the probe's layer norms; transformers has 1e-6."""
    dropout: float = 0.0
    """Dropout probability of the features before the head, 0–1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.probe_heads:
            raise ValueError(f"probe_heads {self.probe_heads} must divide width {self.width}")

    def build(self) -> "VJEPA2":
        """Return a V-JEPA 2 with random weights."""
        return VJEPA2(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        theirs = replace(self, probe_heads=self.heads, probe_eps=1e-6) if source == "transformers" else self
        return of_tool(theirs, weights, source)

    def not_shown(self, source: Source) -> tuple[str, ...]:
        """See `ForeignOptions`."""
        del source
        return "heads", "probe_heads"

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`. The encoder alone takes clips of any length and size, its probe those trained on."""
        if source != "transformers" or config.get("model_type") != "vjepa2":
            return None
        defaults = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "mlp_ratio": 4.0}
        taken = cls.of_transformers(ToolConfig({**defaults, **config.content}, config.faults))
        eps, heads = config.get("layer_norm_eps", 1e-6), taken["heads"]
        probe = {"probe_depth": config.get("num_pooler_layers", 3), "probe_heads": heads, "probe_eps": eps}
        clip = {"frames": config.get("frames_per_clip", 64), "size": config.side("crop_size", 256)}
        probed = "VJEPA2ForVideoClassification" in config.get("architectures", ())
        others = {"tubelet": config.get("tubelet_size", 2), "norm_eps": eps, **(clip if probed else {})}
        return Configured(taken={**taken, **probe, **others})


class VJEPA2(Recognizer):
    """An encoder of clips, and a probe that pools the tokens of all clips of a video."""

    backbone: "VJEPA2Encoder"
    neck: AttentiveProbe

    def __init__(self, options: VJEPA2Options) -> None:
        encoder = VJEPA2Encoder(options)
        probe = AttentiveProbe(
            options.width, depth=options.probe_depth, heads=options.probe_heads, eps=options.probe_eps,
            gradient_checkpointing=options.gradient_checkpointing,
        )  # fmt: skip
        super().__init__(options, encoder, neck=probe)
        self.frames = options.frames
        self.input = replace(self.input, size=options.size)

    def forward_features(self, clips: Tensor) -> Tensor:
        """Clips `(N, C, T, H, W)` → the probe's features `(N, F)`, as the head takes them."""
        features: Tensor = self.neck(self.tokens(clips))
        return features

    def encode(self, clips: Tensor) -> Tensor:
        """Clips `(N, C, T, H, W)` → tokens `(N, L, width)`, see `tokens`."""
        return self.tokens(clips)

    def decode(self, encoded: Tensor) -> Tensor:
        """Tokens `(N, L, width)` → logits `(N, num_classes)`."""
        return super().decode(self.neck(encoded))

    def decoder_layers(self) -> list[nn.Module]:
        """The attentive probe and the head."""
        return [self.neck, self.fc]

    def tokens(self, clips: Tensor) -> Tensor:
        """Clips `(N, C, T, H, W)` → the encoder's tokens `(N, L, width)`, ordered by time, height and width.

        T is a multiple of `frames`, which the encoder sees separately.

        Raises:
            UserError: the clips have another size than the network is built for.
        """
        x = self.normalize(clips)
        if x.shape[2] % self.frames:
            return self.backbone(x)  # which refuses them
        parts = x.unflatten(2, (-1, self.frames)).transpose(1, 2).flatten(0, 1)
        return self.backbone(parts).unflatten(0, (x.shape[0], -1)).flatten(1, 2)

    def roll_out(self) -> "_Rollout":
        """See `HasAttention`."""
        return _Rollout(self.backbone.embedding.grid)

    def blocks(self) -> list[nn.Module]:
        """Blocks of the encoder and of the probe."""
        return [*self.backbone.blocks, *self.neck.blocks, self.neck.cross]

    def compile_units(self) -> list[nn.Module]:
        """Blocks."""
        return self.blocks()

    def foreign(self, source: Source) -> Foreign | None:
        """Names in transformers and in the authors' code."""
        if source == "vjepa2":
            return Foreign(
                names=renamed(self, _VJEPA2), aliases=_VJEPA2_ALIASES, unused=_VJEPA2_UNUSED, untrained=_VJEPA2_PROBE
            )
        if source != "transformers":
            return None
        names = renamed(self, _TRANSFORMERS)
        parts = {key: _parts(name) for key, name in names.items() if key.split(".")[-2] in ("qkv", "q", "kv")}
        return Foreign(
            names={key: name for key, name in names.items() if key not in parts},
            parts=parts,
            aliases=_TRANSFORMERS_ALIASES,
            unused=r"^vjepa2\.predictor\.",
            untrained=r"^(pooler|classifier)\.",
        )


class _Rollout:
    """Rollout from the query of the probe, which gathers tokens; see `kinema.models.capabilities.Rollout`."""

    def __init__(self, grid: tuple[int, int, int]) -> None:
        self._grid = grid
        self._relevance: Tensor | None = None

    def through(self, layer: AttentionGradient) -> None:
        """Pass relevance on through a layer: the cross-attention, the probe's blocks, those of the encoder."""
        if self._relevance is None:
            self._relevance = layer.pass_on(torch.ones(layer.shape, device=layer.q.device))
            return
        clips = len(self._relevance)
        # The encoder sees the parts of a longer clip separately.
        relevance = passed_back(self._relevance.reshape(layer.shape), layer)
        self._relevance = relevance.reshape(clips, -1)

    def positions(self) -> Tensor:
        """Relevance of the tokens of all parts of the clips."""
        assert self._relevance is not None
        _, height, width = self._grid
        return self._relevance.unflatten(1, (-1, height, width))


class VJEPA2Encoder(TransformerBackbone):
    """A vision transformer with rotary position embedding: `(N, 3, T, H, W)` → tokens `(N, L, width)`."""

    embedding: TubeletEmbedding
    cos: Tensor
    sin: Tensor

    def __init__(self, options: VJEPA2Options) -> None:
        super().__init__(options, out_channels=options.width)
        self.embedding = TubeletEmbedding(
            channels=3, width=options.width, tubelet=options.tubelet, patch=options.patch,
            frames=options.frames, size=options.size,
        )  # fmt: skip
        self.blocks = _Blocks(
            *[
                Block(
                    _RotaryAttention(options.width, options.heads),
                    width=options.width, hidden=int(options.width * options.mlp_ratio), drop_path=drop_path,
                    eps=options.norm_eps,
                )
                for drop_path in options.drop_paths
            ]
        )  # fmt: skip
        self.norm = nn.LayerNorm(options.width, eps=options.norm_eps)
        cos, sin = rotary_tables(self.embedding.grid, options.width // options.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.apply(init_weights)
        scale_residuals(self.blocks)
        self.freeze()

    def layer_groups(self) -> list[list[nn.Module]]:
        """The embedding, then each block, the last one with the norm after it."""
        *groups, last = super().layer_groups()
        return [*groups, [*last, self.norm]]

    def forward(self, x: Tensor) -> Tensor:
        """Tokens of clips."""
        out: Tensor = self.norm(self.run(self.blocks, self.embedding(x), self.cos, self.sin))
        return out


class _Blocks(nn.Sequential):
    """Blocks that share the tables of the rotary embedding."""

    def forward(self, x: Tensor, *tables: Tensor) -> Tensor:
        """Tokens `(N, L, width)` → the same shape."""
        for block in self:
            x = block(x, *tables)
        return x


class _RotaryAttention(nn.Module):
    """Multi-head self-attention whose queries and keys are rotated by their positions."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """`(N, L, width)` → the same shape, by the tables of `rotary_tables`."""
        # Values apart from what is rotated, which need not be stored.
        (qk_weight, v_weight), (qk_bias, v_bias) = (
            each.split((2 * self.proj.in_features, self.proj.in_features)) for each in (self.qkv.weight, self.qkv.bias)
        )
        qk = F.linear(x, qk_weight, qk_bias).unflatten(2, (2, self.heads, -1))
        v = F.linear(x, v_weight, v_bias).unflatten(2, (self.heads, -1))
        q, k = rotated(qk, cos, sin).permute(2, 0, 3, 1, 4)
        out: Tensor = self.proj(attend(q, k, v.transpose(1, 2)))
        return out


def rotary_tables(grid: Sequence[int], channels: int) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines that `rotated` takes, each `(L, 1, 1, channels)` in float32, computed in float64.

    A third of the channels, rounded down to pairs, is rotated by the position in time, a third by that in height and a
    third by that in width; those left over are not. The i-th of a third's n channels has the frequency
    10000^(-2 j / n) with j = i mod (n / 2). So the two channels of a pair, which are neighbours, have different
    frequencies, unlike in Su et al. (2021, arXiv:2104.09864, eq. 15): the encoders were trained so.

    Args:
        grid: tokens in time, height and width.
        channels: channels of a head.
    """
    pairs = channels // 3 // 2
    frequencies = 10_000.0 ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    positions = torch.cartesian_prod(*[torch.arange(count, dtype=torch.float64) for count in grid])
    angles = (positions[:, :, None] * frequencies.repeat(2)).flatten(1)
    angles = nn.functional.pad(angles, (0, channels - angles.shape[1]))[:, None, None]
    signs = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(channels)[:channels]
    return angles.cos().float(), (angles.sin() * signs).float()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring channels of `(N, L, …, channels)` by the tables of `rotary_tables`; bfloat16 in float32.

    The sines have the sign of what they are added to.
    """
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * cos, swapped, sin).to(x.dtype)


def _parts(name: str) -> tuple[str, ...]:
    """Names in transformers of what is one linear layer here."""
    module, layer, leaf = name.rsplit(".", 2)
    names = _PROJECTIONS if module.endswith(".attention") else {part: f"{part}_proj" for part in "qkv"}
    return tuple(f"{module}.{names[part]}.{leaf}" for part in layer)


_PROJECTIONS = {"q": "query", "k": "key", "v": "value"}
_VJEPA2: Rules = (
    (r"^backbone\.embedding", "patch_embed"),
    (r"^backbone\.", ""),
    (r"^neck\.cross", "pooler.cross_attention_block"),
    (r"cross_attention_block\.(q|kv)$", r"cross_attention_block.xattn.\1"),
    (r"^neck\b", "pooler"),
    (r"^fc$", "linear"),
)
_VJEPA2_ALIASES: Rules = ((r"^(module\.)?(backbone\.)?", ""),)
_VJEPA2_UNUSED = r"^(pos_embed$|predictor_|mask_tokens\.)"
"""The predictor of pre-training, and positions that the rotary embedding replaces."""
_VJEPA2_PROBE = r"^(pooler|linear)\."
_TRANSFORMERS: Rules = (
    (r"^backbone\.embedding", "vjepa2.encoder.embeddings.patch_embeddings"),
    (r"^backbone\.blocks", "vjepa2.encoder.layer"),
    (r"^backbone\.norm$", "vjepa2.encoder.layernorm"),
    (r"^(vjepa2.*)\.attn\.", r"\1.attention."),
    (r"^neck\.blocks", "pooler.self_attention_layers"),
    (r"^neck\.cross", "pooler.cross_attention_layer"),
    (r"^neck$", "pooler"),
    (r"^(pooler.*)\.norm(\d)$", r"\1.layer_norm\2"),
    (r"^(pooler.*)\.attn\.", r"\1.self_attn."),
    (r"\.self_attn\.proj$", ".self_attn.out_proj"),
    (r"^(pooler.*)\.(q|kv)$", r"\1.cross_attn.\2"),
    (r"^fc$", "classifier"),
)
_TRANSFORMERS_ALIASES: Rules = ((r"^(encoder|predictor)\.", r"vjepa2.\1."),)
"""Of the model without a probe."""
