"""Check of numbers against the bounds that their fields are annotated with."""

from kinema.config.overrides import leaves
from kinema.config.suggestions import as_option
from kinema.config.values import check
from kinema.errors import UserError


def check_bounds(options: object) -> None:
    """Raise UserError if a number of an options dataclass, or of a group in it, is out of its bounds."""
    for key, leaf in leaves(options).items():
        if isinstance(leaf.value, int | float):
            try:
                check(leaf.hint, leaf.value)
            except ValueError as error:
                raise UserError(f"{as_option(key.rpartition('.')[2])}: {error}") from error
