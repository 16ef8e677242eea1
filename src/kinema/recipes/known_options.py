"""Options of the recipes, kept in `options.json` so that faults in them are reported before torch is imported.

`python -m kinema.recipes.known_options` writes the table. It is used only while the classes of options have the fields
that it was written from.
"""

import ast
import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from annotated_types import Ge, Gt, Interval, Le, Lt, MultipleOf

from kinema.config import check_values, fields_of, former_keys, is_group, leaves
from kinema.weights.names import DESCRIPTION

TABLE = Path(__file__).with_name("options.json")
_PACKAGE = Path(__file__).parents[1]
_NAMED: Mapping[str, Any] = {
    **{kind.__name__: kind for kind in (bool, int, float, str, tuple, Ge, Gt, Interval, Le, Lt, MultipleOf)},
    "Annotated": Annotated, "Literal": Literal, "Union": Union,
}  # fmt: skip
"""What annotations of options consist of."""
_OF_A_TEST = ("data.", "task.", "runtime.")


@dataclass(frozen=True, kw_only=True)
class KnownOptions:
    """Types of the options of all recipes."""

    fields: str
    """Digest of the fields in `modules`."""
    modules: list[str]
    """Modules of the classes of options."""
    former: list[str]
    """Keys of earlier versions."""
    groups: list[dict[str, str]]
    """Annotations by dotted key."""
    recipes: dict[str, list[int]]
    """Groups that each recipe's options consist of, as indices."""

    def of(self, recipe: str) -> dict[str, str]:
        """Return the annotations of a recipe's options by key."""
        return {key: hint for index in self.recipes[recipe] for key, hint in self.groups[index].items()}

    def is_for_others(self, key: str) -> bool:
        """Return whether a key is one of any recipe, or of an earlier version."""
        former = any(key == old or key.startswith(f"{old}.") for old in self.former)
        return former or any(key in group for group in self.groups)


def check_options(recipe: str, values: Mapping[str, object]) -> None:
    """Check options of a recipe as far as their names and types are known without its config.

    Options of other recipes or of earlier versions, and what values go together, are left to `kinema.config.apply`.

    Raises:
        UserError: no recipe has such options, or their types do not allow the values.
    """
    _check(_known(recipe), values)


def check_test_options(model: Path, values: Mapping[str, object]) -> None:
    """Check options of a test of the model in the folder `model` in the same way.

    Models whose task or data have options that their recipe lacks, and files that cannot be read, are left to
    `kinema.tasks.models.read_description`.

    Raises:
        UserError: see `check_options`.
    """
    try:
        content = json.loads((model / DESCRIPTION).read_text(encoding="utf-8", errors="surrogateescape"))
        recipe, own = content["recipe"], {*_keys(content["task"], "task."), *_keys(content["data"], "data.")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return
    known = {key: hint for key, hint in _known(recipe).items() if key.startswith(_OF_A_TEST)}
    if own <= {*known}:
        _check(known, values)


def _known(recipe: str) -> dict[str, str]:
    """Return the annotations of a recipe's options by key; empty if the table is not of this recipe's classes."""
    table = read_known_options()
    return table.of(recipe) if recipe in table.recipes and table.fields == digest_of_fields(table.modules) else {}


def _check(known: Mapping[str, str], values: Mapping[str, object]) -> None:
    table = read_known_options()
    if known and not any(key not in known and table.is_for_others(key) for key in values):
        check_values({key: type_of(hint) for key, hint in known.items()}, values)


def _keys(group: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """Yield the dotted keys of options in a `model.json`."""
    for name, value in group.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield prefix + name


@cache
def read_known_options(file: Path = TABLE) -> KnownOptions:
    """Return the table in a file."""
    return KnownOptions(**json.loads(file.read_text(encoding="utf-8")))


@cache
def type_of(annotation: str) -> Any:
    """Return the type that an annotation of the table means.

    Raises:
        ValueError: it has something else than the names in `_NAMED`, numbers, texts and brackets.
    """
    return _meaning(ast.parse(annotation, mode="eval").body)


def _meaning(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="typing"), attr=name) if name in _NAMED:
            return _NAMED[name]
        case ast.Tuple(elts=parts):
            return tuple(map(_meaning, parts))
        case ast.Subscript(value=kind, slice=parts):
            return _meaning(kind)[_meaning(parts)]
        case ast.Call(func=bound, args=[], keywords=limits):
            return _meaning(bound)(**{str(limit.arg): _meaning(limit.value) for limit in limits})
    raise ValueError(f"{ast.unparse(node)}: no type of an option")


def digest_of_fields(modules: Iterable[str]) -> str:
    """Return a digest of the lines in these modules that look like fields of a class."""
    digest = hashlib.blake2b(digest_size=8)
    for module in modules:
        file = _PACKAGE.joinpath(*module.split(".")[1:])
        source = (file / "__init__.py" if file.is_dir() else file.with_suffix(".py")).read_text(encoding="utf-8")
        digest.update("\n".join(re.findall(r"^    \w+: .*", source, re.MULTILINE)).encode())
    return digest.hexdigest()


def known_options() -> KnownOptions:
    """Return the table of the recipes as they are."""
    from kinema.recipes import RECIPES

    modules, former, groups, recipes = set[str](), set[str](), list[dict[str, str]](), dict[str, list[int]]()
    for name, recipe in RECIPES.items():
        config = recipe()
        modules |= set(_modules(config))
        former |= set(former_keys(config))
        own: dict[str, dict[str, str]] = {}
        for key, leaf in leaves(config).items():
            own.setdefault(key.partition(".")[0], {})[key] = inspect.formatannotation(leaf.hint)
        groups += [group for group in own.values() if group not in groups]
        recipes[name] = [groups.index(group) for group in own.values()]
    return KnownOptions(
        fields=digest_of_fields(sorted(modules)),
        modules=sorted(modules),
        former=sorted(former),
        groups=groups,
        recipes=recipes,
    )


def _modules(group: Any) -> Iterator[str]:
    """Yield the modules of the class of a group of options, of its bases, and of the groups in it."""
    for kind in type(group).__mro__:
        if kind.__module__.startswith("kinema."):
            yield kind.__module__
    for value in fields_of(group).values():
        if is_group(value):
            yield from _modules(value)


def main() -> None:
    """Write the table."""
    from kinema import strict_json
    from kinema.storage import write_text

    write_text(TABLE, strict_json.dumps(asdict(known_options()), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
