"""Options: checked and applied by dotted key, saved as YAML, explained in words.

Mechanism only, independent of Kinema's options. Each options dataclass stands beside the code that reads it; a recipe
returns a complete tree of them, and

- `parse_arguments` and `read` give dotted keys, from the command line and from a saved config,
- `apply` sets them on the recipe's config, after checking every value and naming every fault,
- `dump` writes the outcome, `options_help` explains it, `changed` says what differs from the recipe.

An option is a `bool`, `int`, `float`, `str`, `Literal` or a tuple of these, or a union with a `Literal` such as
`float | Literal["none"]`; `Annotated` bounds hold. A group may be a union of dataclasses; the recipe chooses one.
A field with the metadata `NOT_AN_OPTION` is kept, but cannot be set. A group's `FORMERLY` maps keys of earlier versions
to its fields, or to nothing: they are still accepted.
"""

from kinema.config.explain import changed, options_help
from kinema.config.files import dump, read
from kinema.config.overrides import (
    NOT_AN_OPTION,
    Leaf,
    Value,
    apply,
    check_bounds,
    current_keys,
    leaves,
    parse_arguments,
)
from kinema.config.suggestions import as_option, suggest
from kinema.config.values import as_argument, options_from

__all__ = [
    "NOT_AN_OPTION",
    "Leaf",
    "Value",
    "apply",
    "as_argument",
    "as_option",
    "changed",
    "check_bounds",
    "current_keys",
    "dump",
    "leaves",
    "options_from",
    "options_help",
    "parse_arguments",
    "read",
    "suggest",
]
