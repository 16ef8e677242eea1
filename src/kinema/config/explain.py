"""Description of a config: help text of its options, and differences from its recipe."""

import inspect
import shutil
import textwrap

import docstring_parser

from kinema.config.overrides import fields_of, hints, is_group, leaves
from kinema.config.values import allowed, as_argument


def options_help(config: object, *, width: int | None = None) -> str:
    """Return the help text of all options: name, value in `config`, allowed values, and the docstring of the field.

    Options of a group come before its inner groups, both in the order of the fields. Lines are at most `width` columns
    wide, by default as wide as the terminal.
    """
    return "\n".join(_group_help(config, "", width or min(shutil.get_terminal_size().columns, 120)))


def changed(config: object, base: object) -> dict[str, tuple[object, object]]:
    """Return the options that differ: dotted key → (value in `base`, value in `config`); both are of one recipe."""
    before = leaves(base)
    return {
        key: (before[key].value, leaf.value) for key, leaf in leaves(config).items() if leaf.value != before[key].value
    }


def _group_help(group: object, prefix: str, width: int) -> list[str]:
    types, docs = hints(type(group)), _field_docs(type(group))
    lines: list[str] = []
    inner: list[str] = []
    for name, value in fields_of(group).items():
        if is_group(value):
            meaning = docs.get(name) or _class_doc(type(value))
            title = f"{prefix}{name} ({type(value).__name__})"
            inner += ["", *textwrap.wrap(f"{title}: {meaning}" if meaning else title, width)]
            inner += _group_help(value, f"{prefix}{name}.", width)
        else:
            key = (prefix + name).replace("_", "-")
            lines += textwrap.wrap(
                f"--{key} {as_argument(value)}  ({allowed(types[name])})",
                width,
                initial_indent="  ",
                subsequent_indent=" " * 6,
                break_long_words=False,
                break_on_hyphens=False,
            )
            lines += textwrap.wrap(docs.get(name, ""), width, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return lines + inner


def _field_docs(options: type) -> dict[str, str]:
    """Return the docstrings of the fields of a dataclass and its bases, each on one line."""
    return {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for base in reversed(options.__mro__[:-1])
        for parameter in docstring_parser.parse_from_object(base).params
    }


def _class_doc(options: type) -> str:
    """Return the first paragraph of the docstring of a class on one line; empty for `dataclass`'s signature."""
    text = inspect.getdoc(options) or ""
    return "" if text.startswith(f"{options.__name__}(") else " ".join(text.partition("\n\n")[0].split())
