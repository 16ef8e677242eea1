"""What the backbones share: what of them stays as it is in training, and how they save memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from kinema.models.recomputation import kept_by_others

Depth = Literal[18, 34, 50, 101, 152]
FrozenStages = Literal[-1, 0, 1, 2, 3, 4]


class Backbone(nn.Module):
    """A feature extractor with a stem and four stages, of `out_channels` features.

    `frozen_stages` keeps the stem (0), or the stem and as many stages, as they are: no gradients, batch norm in eval
    mode; -1 freezes nothing. `norm_eval` keeps every batch norm in eval mode. With `gradient_checkpointing` the
    activations within a block are computed again in the backward pass instead of being kept (Chen et al., 2016,
    arXiv:1604.06174); gradients and running statistics are the same.
    """

    def __init__(
        self,
        *,
        depth: Depth,
        width: int,
        out_channels: int,
        frozen_stages: FrozenStages,
        norm_eval: bool,
        gradient_checkpointing: bool,
    ) -> None:
        super().__init__()
        self.depth = depth
        self.width = width
        self.out_channels = out_channels
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.gradient_checkpointing = gradient_checkpointing

    def frozen(self) -> Iterator[nn.Module]:
        """The parts that `frozen_stages` keeps as they are."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Switch off the gradients of what is frozen: when the backbone is complete, and when a part was exchanged."""
        for module in self.frozen():
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "Backbone":
        """As `nn.Module.train`, except for what `frozen_stages` and `norm_eval` keep in eval mode."""
        super().train(mode)
        for module in self.frozen():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def run(self, stage: nn.Sequential, x: Tensor, *more: int) -> Tensor:
        """`stage(x, *more)`, its blocks computed again in the backward pass if `gradient_checkpointing` says so."""
        if not (self.gradient_checkpointing and torch.is_grad_enabled()):
            out: Tensor = stage(x, *more)
            return out
        for block in stage:
            x = checkpoint(block, x, *more, use_reentrant=False, context_fn=partial(_contexts, block))
        return x


def _contexts(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Of a block's forward pass, which nothing of the block must outlive, and of the one that is done again."""
    return kept_by_others(), _buffers_kept(block)


@contextmanager
def _buffers_kept(block: nn.Module) -> Iterator[None]:
    """While a block is computed again, its batch norms must not take the same clips into their statistics again."""
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
