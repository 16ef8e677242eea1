"""Image networks of timm and torchvision as extractors of frame features."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kinema.errors import UserError
from kinema.models.backbone import Backbone, BackboneOptions, recomputation_contexts
from kinema.models.foreign import Foreign, Source
from kinema.models.image_networks import create
from kinema.models.image_networks.names import in_efficientnet_pytorch, in_tsm_repository
from kinema.models.image_networks.network import blocks_of
from kinema.models.temporal_shift import TemporalShift


class ImageOptions(BackboneOptions, Protocol):
    """Options of an image network."""

    backbone: str
    norm_eval: bool


class ImageBackbone(Backbone):
    """A network without its classifier: frames `(N, 3, H, W)` → pooled features `(N, out_channels, 1, 1)`."""

    in_channels = 3

    def __init__(self, options: ImageOptions) -> None:
        network, traits = create(options.backbone)
        super().__init__(options, out_channels=traits.out_channels, norm_eval=options.norm_eval)
        self.name, self.network, self.traits = options.backbone, network, traits
        self.package = self.name.partition(":")[0]
        self.clip = _Clip()
        self.shifted: list[str] = []
        if not self.blocks():
            raise UserError(
                f"--model.backbone {self.name}: its blocks are not known; choose another network of {self.package}"
            )
        if self.gradient_checkpointing:
            for block in self.blocks():
                contexts = partial(recomputation_contexts, block)
                recomputed = partial(checkpoint, block.forward, use_reentrant=False, context_fn=contexts)
                block.forward = recomputed
        self.freeze()

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """All blocks together."""
        return (nn.Sequential(*self.blocks()),)

    def blocks(self) -> list[nn.Module]:
        """What the network's stages consist of."""
        return [*blocks_of(self.network)]

    def compile_units(self) -> list[nn.Module]:
        """Blocks."""
        return self.blocks()

    def layer_groups(self) -> list[list[nn.Module]]:
        """The stem, the stages, and layers after them."""
        return self.traits.layer_groups(self.network)

    def shift_features(self, shift_div: int) -> None:
        """Shift the input of each residual branch's first convolution, as TSM does in ResNets and MobileNetV2.

        Raises:
            UserError: it is not known where the network's residual branches begin.
        """
        for path, block in self.network.named_modules():
            if name := self.traits.first_convolution(block):
                self.shifted.append(f"{path}.{name}")
                block.get_submodule(name).register_forward_pre_hook(_Before(TemporalShift(shift_div), self.clip))
        if not self.shifted:
            raise UserError(
                f"--model.backbone {self.name}: TSM shifts features before residual branches of convolutions, known of "
                f"{self.package}'s {', '.join(self.traits.shifting)}; this network has "
                f"{type(self.blocks()[0]).__name__}: train a TSN of it"
            )

    def forward(self, x: Tensor, segments: int = 1) -> Tensor:
        """Features of frames; `segments` is T of blocks that shift, whose input is `(N·T, C, H, W)`, clip by clip.

        Raises:
            UserError: the network takes pictures of another size only.
        """
        if self.traits.size not in (None, tuple(x.shape[-2:])):
            raise UserError(f"{self.name} takes pictures of {self.traits.size} pixels, found {tuple(x.shape[-2:])}")
        self.clip.segments = segments
        features: Tensor = self.network(x)
        return features[..., None, None]

    def levels(self) -> dict[str, int]:
        """Last block of each resolution, by name, and its channels, the finest first; see `Backbone.maps`.

        Raises:
            UserError: the network's last block returns no map.
        """
        side = self.traits.size[0] if self.traits.size else 224
        paths = {id(module): path for path, module in self.named_modules()}
        names = [paths[id(block)] for block in self.blocks()]
        with torch.no_grad():
            maps = deepcopy(self).to("meta").eval().maps(torch.empty(1, 3, side, side, device="meta"), names)
        if maps[-1].dim() != 4 or maps[-1].shape[2] != maps[-1].shape[3]:
            raise UserError(
                f"--model.backbone {self.name}: its last block returns {tuple(maps[-1].shape)}, no map of channels, "
                "rows and columns, of which there are cells (--model.cells)"
            )
        return dict(
            {values.shape[2]: (name, values.shape[1]) for name, values in zip(names, maps, strict=True)}.values()
        )

    def load_pretrained(self, name: str, read: Callable[[Path], Mapping[str, Tensor]]) -> None:
        """Fill the network with the pretrained weights of its package (`timm`, `torchvision`), or those of a file.

        Args:
            name: package or file.
            read: returns the weights in a file, under the package's names or, of timm's `tf_efficientnet…`, those of
                efficientnet_pytorch.

        Raises:
            UserError: They cannot be had, or do not fit.
        """
        weights = self.traits.download() if name == self.package else self._renamed(read(Path(name)))
        own, head = self.network.state_dict(), f"{self.traits.classifier}."
        weights = {key: value for key, value in weights.items() if not key.startswith(head)}
        odd = [key for key in own if key not in weights or weights[key].shape != own[key].shape]
        odd += [key for key in weights if key not in own]
        if odd:
            first = ", ".join(odd[:3])
            raise UserError(f"--model.pretrained {name}: {len(odd)} weights do not fit {self.name} ({first}, …)")
        self.network.load_state_dict(weights)

    def _renamed(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Return weights of efficientnet_pytorch under timm's names, others as they are."""
        if "_conv_stem.weight" not in weights or not self.name.startswith("timm:tf_efficientnet"):
            return weights
        modules = {name: path for path, name in in_efficientnet_pytorch(self.network).items()}
        paths = {key: key.rpartition(".") for key in weights}
        return {f"{modules.get(paths[key][0], paths[key][0])}.{paths[key][2]}": weights[key] for key in weights}

    def foreign(self, source: Source) -> Foreign | None:
        """Names of a recognizer's weights in the package, and in the TSM repository, which has timm's MobileNetV2."""
        head, modules = self.traits.classifier, {}
        if source == "tsm" and self.name == "timm:mobilenetv2_100":
            head = "new_fc"
            modules = {path: f"base_model.{name}" for path, name in in_tsm_repository(self.network).items()}
            modules |= {path: f"{modules[path]}.net" for path in self.shifted}
        elif source != self.package:
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
