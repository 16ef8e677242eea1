"""Configs: trees of options dataclasses, set by dotted keys and saved as YAML.

Independent of Kinema's own options. Each options dataclass stands beside the code that reads it; a recipe returns a
complete tree of them.

- `parse_arguments` and `read` return dotted keys, of the command line and of a saved config.
- `apply` checks all values and sets them on the recipe's config; `check_values` checks them without one.
- `dump` writes a config, `options_help` describes it (`selected_help`, `brief_help` and `groups_help` parts of
  it), `changed` compares it with the recipe; `find_options` searches its options.

An option is a `bool`, `int`, `float`, `str`, `Literal` or a tuple of these, or a union with a `Literal` such as
`float | Literal["none"]`; numbers are checked against `Annotated` bounds. A group may be a union of dataclasses, one of
which the recipe chooses. A field with the metadata `NOT_AN_OPTION` cannot be set. A group's `FORMERLY` maps keys of
earlier versions, which are still accepted, to its fields, or to an empty string if they are ignored.
"""

from kinema.config.explain import brief_help, changed, groups_help, options_help, selected_help
from kinema.config.files import dump, read
from kinema.config.overrides import (
    NOT_AN_OPTION,
    Leaf,
    Value,
    apply,
    check_bounds,
    check_values,
    current_keys,
    fields_of,
    former_keys,
    is_group,
    leaves,
    parse_arguments,
)
from kinema.config.search import find_options
from kinema.config.suggestions import as_option, suggest
from kinema.config.values import as_argument, options_from

__all__ = [
    "NOT_AN_OPTION",
    "Leaf",
    "Value",
    "apply",
    "as_argument",
    "as_option",
    "brief_help",
    "changed",
    "check_bounds",
    "check_values",
    "current_keys",
    "dump",
    "fields_of",
    "find_options",
    "former_keys",
    "groups_help",
    "is_group",
    "leaves",
    "options_from",
    "options_help",
    "parse_arguments",
    "read",
    "selected_help",
    "suggest",
]
