"""Image networks of timm as extractors of frame features."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kinema.errors import MissingPackage, UserError, did_you_mean
from kinema.models.backbone import Backbone, BackboneOptions, recomputation_contexts
from kinema.models.foreign import Foreign, Source
from kinema.models.recognizer import RGB
from kinema.models.temporal_shift import TemporalShift

_FIRST_CONVOLUTIONS = {
    "BasicBlock": ("conv1",),
    "Bottleneck": ("conv1",),
    "InvertedResidual": ("conv_pw",),
    "EdgeResidual": ("conv_exp",),
    "UniversalInvertedResidual": ("dw_start", "pw_exp"),
    "ConvNeXtBlock": ("conv_dw",),
}
"""Class of timm's residual blocks → layers that the residual branch may begin with: the first that has weights does."""


class ImageOptions(BackboneOptions, Protocol):
    """Options of an image network."""

    backbone: str
    norm_eval: bool


class ImageBackbone(Backbone):
    """A network of timm without its classifier: frames `(N, 3, H, W)` → pooled features `(N, out_channels, 1, 1)`."""

    in_channels = 3

    def __init__(self, options: ImageOptions) -> None:
        network = create(options.backbone)
        super().__init__(options, out_channels=_out_channels(network), norm_eval=options.norm_eval)
        self.name, self.network = options.backbone, network
        self.clip = _Clip()
        self.shifted: list[str] = []
        if not self.blocks():
            raise UserError(f"--model.backbone {self.name}: its blocks are not known; choose another network of timm")
        if self.gradient_checkpointing:
            for block in self.blocks():
                contexts = partial(recomputation_contexts, block)
                recomputed = partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)
                block.forward = recomputed
        self.freeze()

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the pictures that the network takes; None: any."""
        if not self.network.pretrained_cfg.get("fixed_input_size") or getattr(self.network, "dynamic_img_size", False):
            return None
        _, height, width = self.network.pretrained_cfg["input_size"]
        return height, width

    @property
    def normalization(self) -> tuple[RGB, RGB]:
        """Mean and standard deviation of pixels that timm's weights are trained with, on the scale 0–255."""
        scales = [self.network.pretrained_cfg[name] for name in ("mean", "std")]
        mean, std = ((255 * red, 255 * green, 255 * blue) for red, green, blue in scales)
        return mean, std

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """All blocks together."""
        return (nn.Sequential(*self.blocks()),)

    def blocks(self) -> list[nn.Module]:
        """What the network's stages consist of."""
        return [block for child in self.network.children() for block in _blocks(child)]

    def compile_units(self) -> list[nn.Module]:
        """Blocks."""
        return self.blocks()

    def layer_groups(self) -> list[list[nn.Module]]:
        """The stem, the stages, and layers after them, as timm groups them."""
        from timm.models import group_modules

        groups = group_modules(self.network, self.network.group_matcher(coarse=True)).values()
        layers = [[self.network.get_submodule(path) for path in _outermost(group)] for group in groups]
        own = [*self.network.parameters(recurse=False)]  # class token and positions
        return [[*([nn.ParameterList(own)] if own else []), *layers[0]], *layers[1:]]

    def shift_features(self, shift_div: int) -> None:
        """Shift the input of each residual branch's first convolution, as TSM does in ResNets and MobileNetV2.

        Raises:
            UserError: it is not known where the network's residual branches begin.
        """
        for path, block in self.network.named_modules():
            for name in _first_convolution(block):
                self.shifted.append(f"{path}.{name}")
                block.get_submodule(name).register_forward_pre_hook(_Before(TemporalShift(shift_div), self.clip))
        if not self.shifted:
            raise UserError(
                f"--model.backbone {self.name}: TSM shifts features before residual branches of convolutions, known of "
                f"timm's {', '.join(_FIRST_CONVOLUTIONS)}; this network has {type(self.blocks()[0]).__name__}: "
                "train a TSN of it"
            )

    def forward(self, x: Tensor, segments: int = 1) -> Tensor:
        """Features of frames; `segments` is T of blocks that shift, whose input is `(N·T, C, H, W)`, clip by clip.

        Raises:
            UserError: the network takes pictures of another size only.
        """
        if self.size not in (None, tuple(x.shape[-2:])):
            raise UserError(f"{self.name} takes pictures of {self.size} pixels, found {tuple(x.shape[-2:])}")
        self.clip.segments = segments
        features: Tensor = self.network(x)
        return features[..., None, None]

    def load_pretrained(self, name: str, read: Callable[[Path], Mapping[str, Tensor]]) -> None:
        """Fill the network with timm's pretrained weights (`timm`), or those of a file, which `read` returns.

        Raises:
            UserError: They cannot be had, or do not fit.
        """
        weights = _download(self.name) if name == "timm" else read(Path(name))
        own, head = self.network.state_dict(), f"{self.network.pretrained_cfg['classifier']}."
        weights = {key: value for key, value in weights.items() if not key.startswith(head)}
        odd = [key for key in own if key not in weights or weights[key].shape != own[key].shape]
        odd += [key for key in weights if key not in own]
        if odd:
            first = ", ".join(odd[:3])
            raise UserError(f"--model.pretrained {name}: {len(odd)} weights do not fit {self.name} ({first}, …)")
        self.network.load_state_dict(weights)

    def foreign(self, source: Source) -> Foreign | None:
        """Names in timm of a recognizer's weights, and in the TSM repository, which has MobileNetV2."""
        head, modules = str(self.network.pretrained_cfg["classifier"]), {}
        if source == "tsm" and self.name == "timm:mobilenetv2_100":
            head = "new_fc"
            modules = {path: f"base_model.{name}" for path, name in _of_tsm(self.network).items()}
            modules |= {path: f"{modules[path]}.net" for path in self.shifted}
        elif source != "timm":
            return None
        names = {}
        for key in self.network.state_dict():
            path, _, leaf = key.rpartition(".")
            names[f"backbone.network.{key}"] = f"{modules.get(path, path)}.{leaf}".removeprefix(".")
        return Foreign(names=names | {f"fc.{leaf}": f"{head}.{leaf}" for leaf in ("weight", "bias")})


class _Clip:
    """Number of frames in the clips of the current forward pass."""

    segments = 1


class _Before:
    """Forward pre-hook that shifts the input of a convolution."""

    def __init__(self, shift: TemporalShift, clip: _Clip) -> None:
        self.shift, self.clip = shift, clip

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Return the shifted input."""
        return (self.shift(inputs[0], self.clip.segments), *inputs[1:])


def create(backbone: str) -> Any:
    """Return a network of timm without its classifier, with random weights.

    Args:
        backbone: `timm:NAME`. Vision transformers take pictures of other sizes than their own.

    Raises:
        UserError: timm is not installed, or has no such network.
    """
    timm, name = _timm(), backbone.removeprefix("timm:")
    if not timm.is_model(name):
        raise UserError(
            f"--model.backbone {backbone}: timm has no such network{did_you_mean(name, timm.list_models())}"
        )
    try:
        return timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except TypeError:  # all but vision transformers
        return timm.create_model(name, num_classes=0)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise MissingPackage("--model.backbone timm:NAME needs timm: pip install 'kinema[timm]'") from error
    return timm


def _download(backbone: str) -> Mapping[str, Tensor]:
    try:
        network = _timm().create_model(backbone.removeprefix("timm:"), pretrained=True, num_classes=0)
    except Exception as error:  # timm and the hub raise errors of many kinds
        raise UserError(
            f"--model.pretrained timm: cannot get timm's weights of {backbone}: {error}; pass a file, or none"
        ) from error
    weights: Mapping[str, Tensor] = network.state_dict()
    return weights


def _out_channels(network: Any) -> int:
    with torch.no_grad():
        picture = torch.empty(1, *network.pretrained_cfg["input_size"], device="meta")
        features: Tensor = deepcopy(network).to("meta").eval()(picture)
    return features.shape[1]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    if not _is_container(module):
        return
    for child in module.children():
        if _is_container(child):
            yield from _blocks(child)
        elif [*child.children()]:
            yield child


def _is_container(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential | nn.ModuleList) or type(module).__name__.endswith("Stage")


def _outermost(paths: Sequence[str]) -> list[str]:
    """Paths of modules that are in none of the others."""
    return [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]


def _first_convolution(block: nn.Module) -> list[str]:
    """Name of the layer that a block's residual branch begins with; none without such a branch, or a shortcut."""
    names = _FIRST_CONVOLUTIONS.get(type(block).__name__, ())
    layers = [name for name in names if [*block.get_submodule(name).parameters()]]
    return layers[:1] if getattr(block, "has_skip", True) else []


def _of_tsm(network: nn.Module) -> dict[str, str]:
    """Paths of MobileNetV2's layers → those in the TSM repository."""
    paths = {"conv_stem": "features.0.0", "bn1": "features.0.1", "conv_head": "features.18.0", "bn2": "features.18.1"}
    blocks = [(path, block) for path, block in network.named_modules() if re.fullmatch(r"blocks\.\d+\.\d+", path)]
    for i, (path, block) in enumerate(blocks, start=1):
        layers = ["conv_dw", "bn1", "conv_pw", "bn2"]
        if hasattr(block, "conv_pwl"):
            layers = ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
        for layer, place in zip(layers, (0, 1, 3, 4, 6, 7), strict=False):
            paths[f"{path}.{layer}"] = f"features.{i}.conv.{place}"
    return paths
