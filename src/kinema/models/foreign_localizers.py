"""MMAction2's names of what localizers hold, for Kinema's."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from torch import Tensor

from kinema.models.bmn import BMN, BMNOptions
from kinema.models.bsn import PEMOptions, TEMOptions
from kinema.models.localizer import Localizer, LocalizerOptions

_O = TypeVar("_O", bound=LocalizerOptions)

_FIRST: dict[type, str] = {BMNOptions: "x_1d_b.0.weight", TEMOptions: "conv1.weight", PEMOptions: "fc1.weight"}
"""The weights that see the features."""

_BMN = (
    ("base.", "x_1d_b."),
    ("start.", "x_1d_s."),
    ("end.", "x_1d_e."),
    ("proposal.", "x_1d_p."),
    ("samples.", "x_3d_p.0."),
    ("reduce.", "x_2d_p.0."),
    ("context.0.", "x_2d_p.2."),
    ("context.1.", "x_2d_p.4."),
    ("confidence.", "x_2d_p.6."),
)


def mmaction2_localizer_names(model: Localizer) -> dict[str, str]:
    """Kinema's key → MMAction2's, for every key of `model`; a TEM's and a PEM's are the same."""
    rules = _BMN if isinstance(model, BMN) else ()
    names = {}
    for key in model.state_dict():
        ours, theirs = next((rule for rule in rules if key.startswith(rule[0])), ("", ""))
        names[key] = theirs + key.removeprefix(ours)
    return names


def localizer_options_of(options: _O, state_dict: Mapping[str, Tensor]) -> _O:
    """Return `options` with as many feature channels as MMAction2's weights have."""
    first = state_dict.get(_FIRST[type(options)])
    if first is None or first.dim() < 2:
        return options
    groups = BMN.GROUPS if isinstance(options, BMNOptions) else 1
    return replace(options, feature_channels=first.shape[1] * groups)


def mmaction2_constants(model: Localizer) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of what MMAction2's BMN saves beside its weights: they follow from its options.

    Only they tell a BMN for one number of parts from a BMN for another.
    """
    if not isinstance(model, BMN):
        return {}
    samples = model.samples.kernel_size[0]
    return {"sample_mask": (model.parts, samples * model.parts**2), "bm_mask": (model.parts, model.parts)}
