"""MMAction2's weights of localizers for Kinema's."""

from collections.abc import Mapping

from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.bmn import BMN

_BMN = (
    ("x_1d_b.", "base."),
    ("x_1d_s.", "start."),
    ("x_1d_e.", "end."),
    ("x_1d_p.", "proposal."),
    ("x_3d_p.0.", "samples."),
    ("x_2d_p.0.", "reduce."),
    ("x_2d_p.2.", "context.0."),
    ("x_2d_p.4.", "context.1."),
    ("x_2d_p.6.", "confidence."),
)
_CONSTANTS = frozenset({"sample_mask", "bm_mask"})
"""What a BMN holds there that is no weight: it follows from its options."""


def foreign_localizer_names(model: nn.Module) -> dict[str, str]:
    """Kinema's key → MMAction2's, for every key of a BMN, TEM or PEM; the latter two have the same ones."""
    rules = _BMN if isinstance(model, BMN) else ()
    names = {}
    for key in model.state_dict():
        theirs, ours = next((rule for rule in rules if key.startswith(rule[1])), ("", ""))
        names[key] = theirs + key.removeprefix(ours)
    return names


def foreign_localizer_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The weights of `model` under MMAction2's names, without the constants that its BMN holds beside them."""
    names = foreign_localizer_names(model)
    return {names[key]: value for key, value in model.state_dict().items()}


def load_foreign_localizer(model: nn.Module, state_dict: Mapping[str, Tensor]) -> None:
    """Fill a BMN, TEM or PEM with the weights of MMAction2's.

    Raises:
        UserError: A key is missing, unknown or of another shape; the model is then left as it was.
    """
    names = foreign_localizer_names(model)
    own = {names[key]: tuple(value.shape) for key, value in model.state_dict().items()}
    constants = _CONSTANTS if isinstance(model, BMN) else frozenset()
    found = {name: tuple(value.shape) for name, value in state_dict.items() if name not in constants}
    faults = [
        *(f"{name} is missing" for name in own if name not in found),
        *(f"{name} is unknown" for name in found if name not in own),
        *(
            f"{name} is {list(found[name])} instead of {list(shape)}"
            for name, shape in own.items()
            if found.get(name, shape) != shape
        ),
    ]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise UserError(
            f"the mmaction2 state dict does not fit this {type(model).__name__}: {', '.join(faults[:3])}{more}"
        )
    model.load_state_dict({key: state_dict[name] for key, name in names.items()})
