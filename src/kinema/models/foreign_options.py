"""What other tools compute that their weights do not show: the options that a network must have to compute the same."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

from torch import Tensor

from kinema.models.i3d import I3DOptions
from kinema.models.r2plus1d import R2Plus1DOptions
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, RGB, RecognizerOptions
from kinema.models.resnet import ResNetOptions
from kinema.models.resnet3d import ResNet3dOptions
from kinema.models.slowfast import SlowFastOptions
from kinema.models.tsm import TSMOptions

Source = Literal["mmaction2", "pyslowfast", "tsm", "torchvision"]

_O = TypeVar("_O", bound=RecognizerOptions)

PYSLOWFAST_MEAN: RGB = (0.45 * 255, 0.45 * 255, 0.45 * 255)
PYSLOWFAST_STD: RGB = (0.225 * 255, 0.225 * 255, 0.225 * 255)
"""By which PySlowFast normalises unless its configuration says otherwise."""

PYSLOWFAST_WINDOW = 7
"""Features of the crops of 224 px that PySlowFast trains on."""

_KINETICS_MEAN: RGB = (0.43216 * 255, 0.394666 * 255, 0.37645 * 255)
_KINETICS_STD: RGB = (0.22803 * 255, 0.22145 * 255, 0.216989 * 255)
"""By which torchvision normalises for its video ResNets."""

HEADS: dict[Source, str] = {
    "mmaction2": "cls_head.fc_cls.weight",
    "pyslowfast": "head.projection.weight",
    "tsm": "new_fc.weight",
    "torchvision": "fc.weight",
}
"""The weights of each tool's classifier."""


def is_of_pictures(state_dict: Mapping[str, Tensor], source: Source) -> bool:
    """Whether the weights are those of torchvision's 2D ResNets."""
    return source == "torchvision" and "conv1.weight" in state_dict and state_dict["conv1.weight"].dim() == 4


def options_of_source(options: _O, state_dict: Mapping[str, Tensor], source: Source) -> _O:
    """Return `options` with what `source` computes, whatever they said.

    The weights tell the number of classes, and whether SlowFast's lateral connections have batch norm. The tool tells
    how pixels are normalised, which frames SlowFast's slow pathway sees, how non-local blocks weigh, the form of
    R(2+1)D, and how a crop's features are averaged.
    """
    changes: dict[str, Any] = {}
    head = state_dict.get(HEADS[source])
    if head is not None and head.dim() == 2:
        changes["num_classes"] = head.shape[0]
    if isinstance(options, SlowFastOptions):
        changes["lateral_norm"] = any(re.search(r"_lateral\.bn\.|_fuse\.bn\.", key) for key in state_dict)
        changes["slow_frames"] = "spread" if source == "pyslowfast" else "every"
    if isinstance(options, I3DOptions):
        changes["non_local_form"] = "pyslowfast" if source == "pyslowfast" else "mmaction2"
    if isinstance(options, ResNet3dOptions):
        changes["window"] = PYSLOWFAST_WINDOW if source == "pyslowfast" else 0
    if isinstance(options, R2Plus1DOptions):
        changes["form"] = "torchvision" if source == "torchvision" else "mmaction2"
    if normalisation := _normalisation(state_dict, source):
        changes["mean"], changes["std"] = normalisation
    return replace(options, **changes)


def _normalisation(state_dict: Mapping[str, Tensor], source: Source) -> tuple[RGB, RGB] | None:
    """Mean and standard deviation of pixels; None of MMAction2, which has them in its configuration only."""
    match source:
        case "mmaction2":
            return None
        case "pyslowfast":
            return PYSLOWFAST_MEAN, PYSLOWFAST_STD
        case "torchvision" if not is_of_pictures(state_dict, source):
            return _KINETICS_MEAN, _KINETICS_STD
    return IMAGENET_MEAN, IMAGENET_STD


def not_of_source(options: object, source: Source) -> Iterator[str]:
    """Say what of a network `source` never computes, though its weights may have the same names and shapes."""
    if source == "pyslowfast" and isinstance(options, I3DOptions):
        strides = options.conv1_stride_t, options.pool1_stride_t
        if strides != (1, 1) or not options.with_pool2:
            yield "PySlowFast's I3D keeps all frames in its stem and halves them after the first stage"
    if source == "tsm" and isinstance(options, ResNetOptions) and options.flow_fields:
        yield "the TSM repository normalises optical flow in another way than Kinema"


def not_shown(options: object, source: Source) -> dict[str, object]:
    """Return the options of a network that neither its weights nor their tool tell, only a configuration."""
    names: tuple[str, ...] = ()
    if isinstance(options, I3DOptions) and source == "mmaction2":
        names = ("conv1_stride_t", "pool1_stride_t", "with_pool2", "non_local")
    elif isinstance(options, I3DOptions) and options.non_local != "none":
        names = ("non_local",)
    elif isinstance(options, SlowFastOptions):
        names = ("alpha",)
    elif isinstance(options, TSMOptions) and source != "torchvision":
        names = ("shift_div",)
    return {name: getattr(options, name) for name in names}
