"""Networks: tensors in, tensors out, independent of configs, datasets and files.

A network is described by its options, a dataclass that builds it: `TSMOptions(num_classes=8).build()`. Name and options
together rebuild it: `options_class("tsm")(num_classes=8).build()`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from kinema.addresses import address_of, load_address
from kinema.errors import UserError, did_you_mean
from kinema.models.capabilities import HasPretrained, ModelOptions
from kinema.models.localizer import Localizer, LocalizerOptions
from kinema.models.pretrained import load_imagenet
from kinema.models.recognizer import Recognizer, RecognizerOptions

__all__ = [
    "MODELS",
    "Localizer",
    "LocalizerOptions",
    "ModelOptions",
    "Recognizer",
    "RecognizerOptions",
    "load_pretrained",
    "name_of",
    "options_class",
]

MODELS: dict[str, str] = {
    "tsn": "kinema.models.tsn:TSNOptions",
    "tsm": "kinema.models.tsm:TSMOptions",
    "i3d": "kinema.models.i3d:I3DOptions",
    "slowonly": "kinema.models.slowonly:SlowOnlyOptions",
    "slowfast": "kinema.models.slowfast:SlowFastOptions",
    "r2plus1d": "kinema.models.r2plus1d:R2Plus1DOptions",
    "x3d": "kinema.models.x3d:X3DOptions",
    "videomae": "kinema.models.videomae:VideoMAEOptions",
    "videomae_pretraining": "kinema.models.videomae_pretraining:VideoMAEPretrainingOptions",
    "s3d": "kinema.models.s3d:S3DOptions",
    "swin3d": "kinema.models.swin3d:Swin3DOptions",
    "mvit": "kinema.models.mvit:MViTOptions",
    "timesformer": "kinema.models.timesformer:TimeSformerOptions",
    "vjepa2": "kinema.models.vjepa2:VJEPA2Options",
    "bmn": "kinema.models.bmn:BMNOptions",
    "tem": "kinema.models.bsn:TEMOptions",
    "pem": "kinema.models.bsn:PEMOptions",
    "actionformer": "kinema.models.actionformer:ActionFormerOptions",
    "tridet": "kinema.models.tridet:TriDetOptions",
}
"""Name → address of the options of Kinema's networks."""


def options_class(name: str) -> type[ModelOptions]:
    """Return the options of a network by its name in `MODELS`, or by address.

    Args:
        name: `slowfast`, `package.module:MyOptions` or `my_file.py:MyOptions`. Files are executed.

    Raises:
        UserError: there is no such network, or what the address names is not a dataclass with `build()`.
    """
    if name not in MODELS and ":" not in name:
        raise UserError(f"unknown model '{name}'{did_you_mean(name, MODELS)}; known: {', '.join(MODELS)}")
    kind = load_address(MODELS.get(name, name), what="model")
    if not (isinstance(kind, type) and hasattr(kind, "__dataclass_fields__") and hasattr(kind, "build")):
        raise UserError(f"'{name}' is no options class of a network: a dataclass with a method build()")
    return kind


def name_of(options: ModelOptions) -> str:
    """Return the name in `MODELS` of the network that `options` describe, or the address of one's own."""
    address = address_of(type(options))
    return next((name for name, known in MODELS.items() if known == address), address)


def load_pretrained(
    model: Recognizer, options: RecognizerOptions, read: Callable[[Path], Mapping[str, Tensor]]
) -> None:
    """Initialize the backbone of `model` as `options.pretrained` says; networks without that option have none.

    Args:
        model: network that `options` describe.
        options: see there.
        read: function that returns the state dict in a file.

    Raises:
        UserError: The weights cannot be downloaded, or do not exist for the backbone's size.
    """
    name = getattr(options, "pretrained", "none")
    if name == "none":
        return
    if isinstance(model.backbone, HasPretrained):
        model.backbone.load_pretrained(name, read)
    else:
        load_imagenet(model.backbone)
