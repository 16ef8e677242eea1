"""Networks: tensors in, tensors out. They know no config tree, no dataset and no file.

A model is described by its options, which stand beside its builder: `build(TSMOptions(num_classes=8))`, or
`tsm(num_classes=8)`. Name and options together rebuild it: `build(options_from(name, values))`.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, overload

from pydantic import TypeAdapter, ValidationError

from kinema.errors import UserError, did_you_mean
from kinema.models.bmn import BMN, BMNOptions, bmn
from kinema.models.bsn import PEM, TEM, PEMOptions, TEMOptions, pem, tem
from kinema.models.complexity import complexity
from kinema.models.foreign import foreign_state_dict, load_foreign_state_dict
from kinema.models.i3d import I3D, I3DOptions, i3d
from kinema.models.pretrained import load_imagenet
from kinema.models.r2plus1d import R2Plus1D, R2Plus1DOptions, r2plus1d
from kinema.models.recognizer import Recognizer
from kinema.models.slowfast import SlowFast, SlowFastOptions, slowfast
from kinema.models.slowonly import SlowOnly, SlowOnlyOptions, slowonly
from kinema.models.tsm import TSM, TSMOptions, tsm
from kinema.models.tsn import TSN, TSNOptions, tsn

__all__ = [
    "BMN",
    "I3D",
    "LOCALIZERS",
    "MODELS",
    "PEM",
    "TEM",
    "TSM",
    "TSN",
    "AnyOptions",
    "BMNOptions",
    "I3DOptions",
    "Localizer",
    "LocalizerOptions",
    "Options",
    "PEMOptions",
    "R2Plus1D",
    "R2Plus1DOptions",
    "Recognizer",
    "SlowFast",
    "SlowFastOptions",
    "SlowOnly",
    "SlowOnlyOptions",
    "TEMOptions",
    "TSMOptions",
    "TSNOptions",
    "bmn",
    "build",
    "complexity",
    "foreign_state_dict",
    "i3d",
    "load_foreign_state_dict",
    "load_imagenet",
    "load_pretrained",
    "name_of",
    "options_from",
    "pem",
    "r2plus1d",
    "slowfast",
    "slowonly",
    "tem",
    "tsm",
    "tsn",
]

Localizer = BMN | TEM | PEM
LocalizerOptions = BMNOptions | TEMOptions | PEMOptions
Options = TSNOptions | TSMOptions | I3DOptions | SlowOnlyOptions | SlowFastOptions | R2Plus1DOptions
"""Of a recognizer."""
AnyOptions = Options | LocalizerOptions

MODELS: dict[str, tuple[type[Options], Callable[..., Recognizer]]] = {
    "tsn": (TSNOptions, tsn),
    "tsm": (TSMOptions, tsm),
    "i3d": (I3DOptions, i3d),
    "slowonly": (SlowOnlyOptions, slowonly),
    "slowfast": (SlowFastOptions, slowfast),
    "r2plus1d": (R2Plus1DOptions, r2plus1d),
}
"""Name → options and builder, whose keywords are the options' fields without `pretrained`."""

LOCALIZERS: dict[str, tuple[type[LocalizerOptions], Callable[..., Localizer]]] = {
    "bmn": (BMNOptions, bmn),
    "tem": (TEMOptions, tem),
    "pem": (PEMOptions, pem),
}
"""The same of networks that find when something happens."""

_ALL: dict[str, tuple[type[AnyOptions], Callable[..., Recognizer | Localizer]]] = {**MODELS, **LOCALIZERS}


@overload
def build(options: Options) -> Recognizer: ...


@overload
def build(options: LocalizerOptions) -> Localizer: ...


def build(options: AnyOptions) -> Recognizer | Localizer:
    """The model that `options` describe, with random weights: nothing is downloaded."""
    _, builder = _ALL[name_of(options)]
    return builder(
        **{field.name: getattr(options, field.name) for field in fields(options) if field.name != "pretrained"}
    )


def load_pretrained(model: Recognizer, options: Options) -> None:
    """Fill `model`'s backbone as `options.pretrained` says.

    Raises:
        UserError: The weights cannot be had, or do not exist for the backbone's width.
    """
    if options.pretrained == "imagenet":
        load_imagenet(model.backbone)


def name_of(options: AnyOptions) -> str:
    """The name in `MODELS` or `LOCALIZERS` of the model that `options` describe."""
    return next(name for name, (kind, _) in _ALL.items() if type(options) is kind)


def options_from(name: str, values: Mapping[str, Any]) -> AnyOptions:
    """The options of model `name` with `values`, as `dataclasses.asdict` gives them, or JSON in between.

    Raises:
        UserError: The model or a field is unknown, or a field does not allow its value.
    """
    if name not in _ALL:
        raise UserError(f"unknown model '{name}'{did_you_mean(name, _ALL)}; known: {', '.join(_ALL)}")
    kind, _ = _ALL[name]
    known = [field.name for field in fields(kind)]
    for key in values:
        if key not in known:
            raise UserError(f"unknown option '{key}' of model '{name}'{did_you_mean(key, known)}")
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        faults = "; ".join(f"{fault['loc'][0]}: {fault['msg']}, found {fault['input']!r}" for fault in error.errors())
        raise UserError(f"options of model '{name}': {faults}") from error
