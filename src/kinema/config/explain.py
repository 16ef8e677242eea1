"""A config in words: every option for `--help`, and what a run changed from its recipe."""

import inspect
import shutil
import textwrap

import docstring_parser

from kinema.config.overrides import fields_of, hints, is_group, leaves
from kinema.config.values import allowed, as_argument


def options_help(config: object, *, width: int | None = None) -> str:
    """Every option as one writes it, with the config's own value, what is allowed, and the docstring under its field.

    Options of a group come before its inner groups, both in the order of the fields. The lines are at most `width`
    columns wide, by default the terminal's.
    """
    return "\n".join(_group_help(config, "", width or min(shutil.get_terminal_size().columns, 120)))


def changed(config: object, base: object) -> dict[str, tuple[object, object]]:
    """Dotted key → (base's value, config's value) where the two differ; both come from one recipe."""
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
    """The docstrings under a dataclass' fields, its bases' included, each as one line."""
    return {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for base in reversed(options.__mro__[:-1])
        for parameter in docstring_parser.parse_from_object(base).params
    }


def _class_doc(options: type) -> str:
    """The first paragraph of a class' docstring as one line; `dataclass` puts a signature where there is none."""
    text = inspect.getdoc(options) or ""
    return "" if text.startswith(f"{options.__name__}(") else " ".join(text.partition("\n\n")[0].split())
