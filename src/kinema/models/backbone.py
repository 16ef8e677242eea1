"""Base class of backbones: frozen stages, and gradient checkpointing."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, Protocol, Self

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from kinema.models.recomputation import kept_by_others

Depth = Literal[18, 34, 50, 101, 152]
"""Layers of a ResNet."""

LENGTHS: dict[Depth, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3),
}  # fmt: skip
"""Blocks of each stage of a ResNet: basic blocks up to 34 layers, then bottlenecks."""

FrozenStages = Literal[-1, 0, 1, 2, 3, 4]

Depths = tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)], Annotated[int, Ge(1)], Annotated[int, Ge(1)]]
"""Blocks of each of four stages."""


class BackboneOptions(Protocol):
    """Options of every backbone."""

    gradient_checkpointing: bool

    @property
    def frozen_stages(self) -> int:
        """Stages whose weights are frozen, with the stem; -1: none."""


@dataclass(kw_only=True)
class ConvNetOptions:
    """Options of every convolutional backbone."""

    frozen_stages: FrozenStages = -1
    """Freeze the stem (0), or the stem and the first 1–4 stages: no gradients, batch norm in eval mode; -1 trains
    everything."""
    norm_eval: bool = False
    """Keep all batch norms in eval mode."""
    pretrained: str = "none"
    """Initial weights of the backbone: torchvision's ImageNet weights, downloaded once, or none."""


class Backbone(nn.Module):
    """A feature extractor: a stem, then stages of blocks in sequence, to `out_channels` features.

    Subclasses define `stages` and `stem_layers`, and call `freeze` when all layers exist. The options' `frozen_stages`
    freezes the stem (0), or the stem and as many stages: no gradients, batch norm in eval mode; -1 freezes nothing.
    `norm_eval` keeps every batch norm in eval mode. With `gradient_checkpointing` the activations within a block are
    recomputed in the backward pass instead of stored (Chen et al., 2016, arXiv:1604.06174); gradients and running
    statistics are the same.
    """

    def __init__(self, options: BackboneOptions, *, out_channels: int, norm_eval: bool = False) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.frozen_stages = options.frozen_stages
        self.norm_eval = norm_eval
        self.gradient_checkpointing = options.gradient_checkpointing

    @property
    def stages(self) -> Sequence[nn.Sequential]:
        """Stages of blocks, by depth."""
        raise NotImplementedError

    def stem_layers(self) -> list[nn.Module]:
        """Layers before the first stage."""
        raise NotImplementedError

    def layer_groups(self) -> list[list[nn.Module]]:
        """The stem, then each stage, with all layers that have parameters."""
        stages: list[list[nn.Module]] = [[stage] for stage in self.stages]
        return [self.stem_layers(), *stages]

    def frozen(self) -> Iterator[nn.Module]:
        """Layers that `frozen_stages` freezes."""
        for group in self.layer_groups()[: self.frozen_stages + 1]:
            yield from group

    def freeze(self) -> None:
        """Disable the gradients of frozen layers; call it again after replacing one."""
        for module in self.frozen():
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode of all layers but those that `frozen_stages` and `norm_eval` keep in eval mode."""
        super().train(mode)
        for module in self.frozen():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def compile_units(self) -> list[nn.Module]:
        """Stages, or blocks where activations are recomputed block by block."""
        if self.gradient_checkpointing:
            return [block for stage in self.stages for block in stage]
        return list(self.stages)

    def maps(self, x: Tensor, names: Sequence[str]) -> tuple[Tensor, ...]:
        """Run the backbone on `x` and return the outputs of its layers `names`, in the order of their calls."""
        outputs: list[Tensor] = []
        hooks = [
            self.get_submodule(name).register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
            for name in names
        ]
        try:
            self(x)
        finally:
            for hook in hooks:
                hook.remove()
        return tuple(outputs)

    def run(self, stage: nn.Sequential, x: Tensor, *more: int | Tensor) -> Tensor:
        """Return `stage(x, *more)`, block by block under `gradient_checkpointing`."""
        if not (self.gradient_checkpointing and torch.is_grad_enabled()):
            out: Tensor = stage(x, *more)
            return out
        for block in stage:
            if x.requires_grad or any(parameter.requires_grad for parameter in block.parameters()):
                x = checkpoint(block, x, *more, use_reentrant=False, context_fn=partial(recomputation_contexts, block))
            else:  # frozen: nothing is recomputed, and checkpointing would store the block's input
                x = block(x, *more)
        return x


def recomputation_contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Contexts of a block's forward pass, and of its recomputation."""
    return kept_by_others(), _buffers_kept(block)


@contextmanager
def _buffers_kept(block: nn.Module) -> Iterator[None]:
    """Discard updates of a block's buffers: recomputation must not count a batch in running statistics twice."""
    buffers = [
        (module, name, buffer) for module in block.modules() for name, buffer in module.named_buffers(recurse=False)
    ]
    for module, name, buffer in buffers:
        setattr(module, name, buffer.clone())
    try:
        yield
    finally:
        for module, name, buffer in buffers:
            setattr(module, name, buffer)
