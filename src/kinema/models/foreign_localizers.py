"""MMAction2's names of what localizers hold, for Kinema's."""

from kinema.models.bmn import BMN
from kinema.models.bsn import PEM, TEM

Localizer = BMN | TEM | PEM

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


def mmaction2_constants(model: Localizer) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of what MMAction2's BMN saves beside its weights: they follow from its options.

    Only they tell a BMN for one number of parts from a BMN for another.
    """
    if not isinstance(model, BMN):
        return {}
    samples = model.samples.kernel_size[0]
    return {"sample_mask": (model.parts, samples * model.parts**2), "bm_mask": (model.parts, model.parts)}
