"""Small networks of every family in the table."""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from kinema.models import MODELS, Localizer, Recognizer, RecognizerOptions, options_class
from kinema.models.capabilities import PretrainsBackbone
from kinema.models.transformer import TransformerOptions

RECOGNIZERS = [name for name in MODELS if issubclass(options_class(name), RecognizerOptions)]
PRETRAINED = [name for name in MODELS if issubclass(options_class(name), PretrainsBackbone)]
"""Families of pre-training."""
LOCALIZERS = [name for name in MODELS if name not in (*RECOGNIZERS, *PRETRAINED)]

CLASSES = 5
LARGE_INIT = 0.1
"""A head whose logits lie well above rounding errors."""

SMALL = {
    "depth": 18,
    "width": 8,
    "num_classes": CLASSES,
    "init_std": LARGE_INIT,
    "zero_init_residual": False,
    "depth_factor": 1.0,
    "heads": 2,
    "frames": 8,
    "size": 64,
    "drop_path": 0.1,
    "depths": (1, 1, 2, 1),
    "probe_depth": 1,
    "probe_heads": 2,
    "decoder_width": 8,
    "decoder_depth": 2,
    "decoder_heads": 2,
}
SMALL_OF = {"vjepa2": {"width": 16}}
"""Options of single families: a head of V-JEPA 2 has a pair of channels each for time, height and width."""
SMALL_LOCALIZER = {
    "parts": 8,
    "samples": 4,
    "hidden_1d": 8,
    "hidden_2d": 4,
    "hidden_3d": 8,
    "feature_channels": 16,
    "num_classes": CLASSES,
    "width": 16,
    "head_width": 16,
    "mlp_width": 16,
    "windows": (3, 3, 0),
    "levels": 3,
    "init_std": LARGE_INIT,
}


def small_options(name: str, **values: Any) -> Any:
    """Options of a small network: those of `SMALL` and `values` that the family has; None keeps the default."""
    kind = options_class(name)
    known = {field.name for field in fields(kind)}
    values = {**(SMALL_LOCALIZER if name in LOCALIZERS else SMALL), **SMALL_OF.get(name, {}), **values}
    return kind(**{key: value for key, value in values.items() if key in known and value is not None})


def small_model(name: str, **values: Any) -> Recognizer:
    torch.manual_seed(0)
    model = small_options(name, **values).build()
    assert isinstance(model, Recognizer)
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():  # of branches and embeddings that training begins without
            nn.init.normal_(parameter, std=0.1)
    return model


def small_localizer(name: str) -> Localizer:
    torch.manual_seed(0)
    model = small_options(name).build()
    assert isinstance(model, Localizer)
    return model


def small_pretraining(name: str, **values: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = small_options(name, **values).build()
    return model


TRANSFORMERS = [name for name in (*RECOGNIZERS, *PRETRAINED) if issubclass(options_class(name), TransformerOptions)]
"""Families that take square clips of one size."""


def pixels(name: str, clips: int = 2, frames: int = 8) -> Tensor:
    """`uint8` clips `(N, 3, T, H, W)` in the memory order `(N, T, H, W, C)`, as the data path delivers them."""
    memory = torch.randint(256, (clips, frames, 64, 64 if name in TRANSFORMERS else 48, 3), dtype=torch.uint8)
    return memory.permute(0, 4, 1, 2, 3)


def features(model: Localizer, videos: int = 2) -> Tensor:
    """What a localizer takes: `(N, C, T)`, of PEM `(N, C)`."""
    shape = (videos, model.input.channels)
    return torch.randn(shape if type(model).__name__ == "PEM" else (*shape, model.input.frames or 10))
