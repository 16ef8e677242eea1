"""Description of a config: help text of its options, and differences from its recipe."""

import inspect
import shutil
import textwrap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import docstring_parser

from kinema.config.overrides import fields_of, hints, is_group, leaves
from kinema.config.values import allowed, as_argument


def options_help(config: object, *, width: int | None = None) -> str:
    """Return the help text of all options: name, value in `config`, allowed values, and the docstring of the field.

    Options of a group come before its inner groups, both in the order of the fields. Lines are at most `width` columns
    wide, by default as wide as the terminal.
    """
    return "\n".join(_group_help(config, "", width or text_width()))


def text_width() -> int:
    """Return the width of help texts: that of the terminal, at most 120 columns."""
    return min(shutil.get_terminal_size().columns, 120)


def selected_help(config: object, keys: Collection[str], *, width: int | None = None) -> str:
    """Return the help text of the options `keys` (dotted), in their order."""
    described = {option.key: option for option in describe(config)}
    return "\n".join(line for key in keys for line in described[key].lines(width or text_width()))


def brief_help(config: object, keys: Collection[str], *, width: int | None = None) -> str:
    """Return a line for each of the options `keys`: name, value in `config`, the beginning of its docstring."""
    described = {option.key: option for option in describe(config)}
    return _columns([(described[key].setting, described[key].meaning) for key in keys], width or text_width())


def groups_help(config: object, *, width: int | None = None) -> str:
    """Return a line for each group of options and each group in it: name, number of options, what they are."""
    groups = [(name, len(leaves(group)), doc) for name, group, doc in _groups(config, "") if name.count(".") < 2]
    return _columns([(f"{name} ({count})", doc) for name, count, doc in groups if count], width or text_width())


def _columns(rows: Sequence[tuple[str, str]], width: int) -> str:
    """Return rows of two columns on one line each; the second ends with … where it is longer than that."""
    column = max((len(first) for first, _ in rows), default=0)
    rooms = [width - 4 - max(column, len(first)) for first, _ in rows]
    texts = [
        textwrap.shorten(text, max(room, 8), placeholder=" …") for (_, text), room in zip(rows, rooms, strict=True)
    ]
    return "\n".join(f"  {first:{column}}  {text}".rstrip() for (first, _), text in zip(rows, texts, strict=True))


def _groups(group: object, prefix: str) -> Iterator[tuple[str, object, str]]:
    docs = _field_docs(type(group))
    for name, value in fields_of(group).items():
        if is_group(value):
            yield (prefix + name).replace("_", "-"), value, docs.get(name) or _class_doc(type(value))
            yield from _groups(value, f"{prefix}{name}.")


@dataclass(frozen=True, kw_only=True)
class OptionText:
    """What the help says of an option."""

    key: str
    value: object
    hint: object
    meaning: str

    @property
    def setting(self) -> str:
        """The option and its value, as on the command line."""
        return f"--{self.key.replace('_', '-')} {as_argument(self.value)}"

    def lines(self, width: int) -> list[str]:
        """Return the lines of the help."""
        head = textwrap.wrap(
            f"{self.setting}  ({allowed(self.hint)})",
            width,
            initial_indent="  ",
            subsequent_indent=" " * 6,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return head + textwrap.wrap(self.meaning, width, initial_indent=" " * 6, subsequent_indent=" " * 6)


def describe(config: object) -> list[OptionText]:
    """Return what the help says of all options, those of a group before those of its inner groups."""
    return [*_described(config, "")]


def _described(group: object, prefix: str) -> Iterator[OptionText]:
    types, docs = hints(type(group)), _field_docs(type(group))
    inner = []
    for name, value in fields_of(group).items():
        if is_group(value):
            inner.append((name, value))
        else:
            yield OptionText(key=prefix + name, value=value, hint=types[name], meaning=docs.get(name, ""))
    for name, value in inner:
        yield from _described(value, f"{prefix}{name}.")


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
            option = OptionText(key=prefix + name, value=value, hint=types[name], meaning=docs.get(name, ""))
            lines += option.lines(width)
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
