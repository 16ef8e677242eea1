"""A linear head in closed form: ridge regression, regularized by inner cross-validation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.errors import UserError

_PENALTIES = tuple(10.0 ** (power / 2) for power in range(-6, 5))
"""Of the mean diagonal of the kernel matrix."""

_SCALES = tuple(2.0 ** (power / 2) for power in range(17))
_FLOOR = 0.1
"""Of the features' mean standard deviation, which is added to each one's."""

MOST_ROWS = 12000
_COLUMNS = 4096


@dataclass(frozen=True, kw_only=True)
class Ridge:
    """Logits `x @ weight.T + bias`, (classes, F) and (classes,) float32, and how they were chosen.

    penalty: of the squared weights, over the mean squared length of the standardized features. scale: of the
    regression's outputs as logits. error: mean squared error of inner validation.
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    scale: float
    error: float


def fit_ridge(features: Tensor, targets: Tensor, folds: Tensor, *, single: bool) -> Ridge:
    """Fit a linear classifier.

    Features are standardized. The penalty with the least squared error, and the scale of the logits with the least
    cross-entropy, on the parts held out in turn are chosen: no other data are looked at.

    Args:
        features: (n, F) float32.
        targets: (n, classes) float32, 1 for the classes of a row.
        folds: (n,) part of each row in inner validation; rows of a video, or of videos that look alike, share theirs.
        single: whether a row has one class, for softmax instead of sigmoid.

    Raises:
        UserError: there are too many rows for their kernel matrix.
    """
    if len(features) > MOST_ROWS:
        raise UserError(
            f"--task.probe.fit ridge is for at most {MOST_ROWS} clips, found {len(features)}: "
            "pass --task.probe.fit steps"
        )
    mean, spread = features.mean(dim=0), features.std(dim=0)
    spread = spread + _FLOOR * spread.mean() + torch.finfo(spread.dtype).tiny
    kernel = torch.zeros(len(features), len(features), dtype=torch.float64)
    for part in _standardized(features, mean, spread):
        kernel += part @ part.T
    length = kernel.diagonal().mean().clamp(min=torch.finfo(torch.float32).tiny)
    kernel = kernel / length
    targets = targets.double()
    held_out = torch.stack([_held_out(kernel, targets, folds, penalty) for penalty in _PENALTIES])
    errors = (held_out - targets).square().mean(dim=(1, 2))
    best = int(errors.argmin())
    scale = min(_SCALES, key=lambda scale: float(_cross_entropy(held_out[best], targets, scale, single=single)))
    dual, offset = _solve(kernel, targets, _PENALTIES[best])
    weight = torch.cat([part.T.double() @ dual for part in _standardized(features, mean, spread)])
    weight = (weight / length / spread[:, None]).T * scale
    bias = scale * (offset - (0.0 if single else 0.5)) - weight @ mean.double()
    return Ridge(
        weight=weight.float(), bias=bias.float(), penalty=_PENALTIES[best], scale=scale, error=float(errors[best])
    )


def _standardized(features: Tensor, mean: Tensor, spread: Tensor) -> Iterator[Tensor]:
    """Yield standardized features, some columns at a time: all of them would take as much memory again, and more."""
    for part, center, width in zip(
        *(values.split(_COLUMNS, dim=-1) for values in (features, mean, spread)), strict=True
    ):
        yield (part - center) / width


def _solve(kernel: Tensor, targets: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    """Return the dual weights (n, classes), which sum to 0, and the constants (classes,).

    The kernel is centered on these rows: those held out have no part in the mean.
    """
    means = kernel.mean(dim=0)
    centered = kernel - means - means[:, None] + means.mean()
    dual = torch.linalg.solve(
        centered + penalty * torch.eye(len(kernel), dtype=kernel.dtype), targets - targets.mean(dim=0)
    )
    return dual, targets.mean(dim=0) - means @ dual


def _held_out(kernel: Tensor, targets: Tensor, folds: Tensor, penalty: float) -> Tensor:
    """Return the predictions (n, classes) for each row by the others' folds."""
    predicted = torch.zeros_like(targets)
    for fold in folds.unique().tolist():
        out = folds == fold
        dual, offset = _solve(kernel[~out][:, ~out], targets[~out], penalty)
        predicted[out] = kernel[out][:, ~out] @ dual + offset
    return predicted


def _cross_entropy(predicted: Tensor, targets: Tensor, scale: float, *, single: bool) -> Tensor:
    if single:
        return F.cross_entropy(scale * predicted, targets)
    return F.binary_cross_entropy_with_logits(scale * (predicted - 0.5), targets)


class HeadInputs:
    """Records the inputs of a linear layer while it is in use."""

    def __init__(self, head: nn.Linear) -> None:
        self._hook = head.register_forward_pre_hook(lambda _module, inputs: self.inputs.append(inputs[0]))
        self.inputs: list[Tensor] = []

    def __enter__(self) -> "Sequence[Tensor]":
        return self.inputs

    def __exit__(self, *_: object) -> None:
        self._hook.remove()
