"""Masks of clips: which tokens the encoder sees, and which the decoder reconstructs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Interval
from torch import Tensor

from kinema.errors import UserError

CELL = 4
"""Tokens of a cell of two rows and two columns."""


@dataclass(kw_only=True)
class MaskOptions:
    """Masks and targets of masked autoencoding (VideoMAE: Tong et al., 2022, arXiv:2203.12602)."""

    mask_ratio: Annotated[float, Interval(gt=0, lt=1)] = 0.9
    """Share of the tokens that are hidden from the encoder, the same ones in all frames of a clip (tube masking,
    section 3.3)."""
    decoder_mask: Literal["none", "running_cell"] = "none"
    """Tokens that the decoder leaves out in training: none; or half of them, which change from frame to frame
    (running_cell: dual masking of VideoMAE V2, Wang et al. 2023, section 3.2), for less time and memory."""
    normalize_targets: bool = True
    """Reconstruct pixels after subtracting each token's mean and dividing by its standard deviation."""

    def masking(self, grid: tuple[int, int, int]) -> "Masking":
        """Return what draws the masks of clips of a grid of tokens.

        Raises:
            UserError: the masks do not fit the grid; see `Masking`.
        """
        return Masking(grid, ratio=self.mask_ratio, running_cell=self.decoder_mask == "running_cell")


@dataclass(frozen=True)
class Masks:
    """Masks of N clips, by the numbers of their tokens.

    visible: (N, V) int64, tokens that the encoder sees, in ascending order.
    decoded: (N, D) int64, tokens that the decoder reconstructs, in ascending order.
    counted: (N, D) bool, those of the decoded tokens that the encoder does not see, and that the loss counts.
    """

    visible: Tensor
    decoded: Tensor
    counted: Tensor

    def to(self, device: torch.device) -> "Masks":
        """Copy to `device`."""
        return Masks(self.visible.to(device), self.decoded.to(device), self.counted.to(device))


class Masking:
    """Tube masking: positions of a frame's tokens, drawn for each clip, are hidden in all its frames.

    With `running_cell` the decoder reconstructs two of each four neighboring tokens, which move on by one from frame
    to frame, instead of all hidden ones (VideoMAE V2, section 3.2, and the repository's code: the decoder has a mask
    token for each of them, also for those that the encoder sees).
    """

    def __init__(self, grid: tuple[int, int, int], *, ratio: float, running_cell: bool = False) -> None:
        """Initialize for a grid of tokens.

        Args:
            grid: tokens by time, height and width.
            ratio: share of the tokens that are hidden.
            running_cell: whether the decoder leaves out tokens.

        Raises:
            UserError: the ratio hides all or none of a frame's tokens, or cells do not fit the grid.
        """
        self.times, self.height, self.width = grid
        self.hidden = int(ratio * self.per_frame)
        if not 0 < self.hidden < self.per_frame:
            raise UserError(
                f"--task.mask-ratio {ratio} hides {self.hidden} of a frame's {self.per_frame} tokens: pass one that "
                "hides some and leaves some, larger frames or smaller patches"
            )
        self.running_cell = running_cell
        if running_cell and (self.height % 2 or self.width % 2):
            raise UserError(
                f"--task.decoder-mask running_cell needs even numbers of tokens in a frame's rows and columns, found "
                f"{self.height} × {self.width}"
            )

    @property
    def per_frame(self) -> int:
        """Tokens of a point in time."""
        return self.height * self.width

    def draw(self, generators: Sequence[torch.Generator | None], *, whole: bool = False) -> Masks:
        """Draw the masks of clips.

        Args:
            generators: generator of each clip; None: torch's global one.
            whole: reconstruct all hidden tokens, also with `running_cell`.
        """
        keys = torch.stack([torch.rand(self.per_frame, generator=generator) for generator in generators])
        order = keys.argsort(dim=1)
        hidden, visible = (self._tubes(part.sort(dim=1).values) for part in order.split(
            [self.hidden, self.per_frame - self.hidden], dim=1
        ))  # fmt: skip
        if whole or not self.running_cell:
            return Masks(visible, hidden, torch.ones_like(hidden, dtype=torch.bool))
        offsets = [int(torch.randint(CELL, (), generator=generator)) for generator in generators]
        decoded = torch.stack([self._cells(offset) for offset in offsets])
        is_hidden = torch.zeros(len(decoded), self.times * self.per_frame, dtype=torch.bool).scatter(1, hidden, True)
        return Masks(visible, decoded, is_hidden.gather(1, decoded))

    def _tubes(self, positions: Tensor) -> Tensor:
        """Positions (N, K) in a frame → numbers (N, times · K) of the tokens there, by time."""
        starts = torch.arange(self.times) * self.per_frame
        return (starts[:, None] + positions[:, None]).flatten(1)

    def _cells(self, offset: int) -> Tensor:
        """Numbers of the tokens that are decoded: in a cell, which begins to run at `offset`, the last two."""
        t, y, x = (axis.flatten() for axis in torch.meshgrid(
            torch.arange(self.times), torch.arange(self.height), torch.arange(self.width), indexing="ij"
        ))  # fmt: skip
        in_cell = 2 * (y % 2) + x % 2
        return ((in_cell + t + offset) % CELL >= CELL // 2).nonzero().flatten()


def mask_loss(pixels: Tensor, targets: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the counted tokens' mean squared errors, and their number, both scalars.

    Args:
        pixels: (N, D, P), reconstructed.
        targets: (N, D, P).
        counted: (N, D) bool.
    """
    errors = (pixels.float() - targets).square().mean(dim=2)
    return (errors * counted).sum(), counted.sum()
