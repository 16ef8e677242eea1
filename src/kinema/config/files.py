"""Configs as YAML files: the name of the recipe, then all options in nested groups."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from kinema.config.overrides import fields_of, is_group
from kinema.errors import UserError


def dump(config: object, *, recipe: str) -> str:
    """Return the complete config as YAML text for `read`, groups in the order of the fields.

    The dataclass of a group is not written: the recipe determines it.
    """
    document = {"recipe": recipe, **_nested(config)}
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def read(path: str | Path) -> tuple[str, dict[str, object]]:
    """Return the name of the recipe and the dotted keys of a YAML file.

    Values are strings or lists of strings, as on the command line, which the types of the options convert. YAML 1.1
    itself would read `1e-4` as a string, `no` as false and `12:30` as 750.

    Raises:
        UserError: the file cannot be read, is not YAML, gives a key twice or names no recipe; with file and line.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        loader = yaml.BaseLoader(text)
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{path}: found no keys at the top level; allowed: `recipe: NAME`, then groups of options")
        values = {key: loader.construct_object(node, deep=True) for key, node in _leaf_nodes(root, "", {}, path)}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: found bytes that are no UTF-8 text; allowed: a config in YAML") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UserError(f"{path}, line {line}: not YAML: found {chr(error.character)!r}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise UserError(f"{path}, line {mark.line + 1 if mark else 1}: not YAML: {error.problem}") from error
    recipe = values.pop("recipe", "")
    if not isinstance(recipe, str) or not recipe:
        raise UserError(f"{path}: found no recipe; allowed: a line `recipe: NAME`, as in the config.yaml of a run")
    return recipe, values


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line, no anchors for tuples that options share, and escapes for invisible characters."""

    def ignore_aliases(self, _data: object) -> bool:
        return True

    def represent_tuple(self, data: tuple[object, ...]) -> yaml.Node:
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)

    def represent_text(self, data: str) -> yaml.Node:
        # Unquoted, some of Unicode's line breaks (U+0085) would be read back as a space.
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Dumper.add_representer(tuple, _Dumper.represent_tuple)
_Dumper.add_representer(str, _Dumper.represent_text)


def _nested(group: object) -> dict[str, object]:
    return {name: _nested(value) if is_group(value) else value for name, value in fields_of(group).items()}


def _leaf_nodes(
    mapping: yaml.MappingNode, prefix: str, lines: dict[str, int], path: str | Path
) -> Iterator[tuple[str, yaml.Node]]:
    """Yield dotted keys and their nodes; `lines` has the line of each key, to report duplicates, which YAML allows."""
    for key_node, node in mapping.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise UserError(f"{path}, line {line}: found a list or mapping as a key; allowed: an option's name")
        key = prefix + key_node.value
        if key in lines:
            raise UserError(f"{path}, line {line}: '{key}' is given twice, first in line {lines[key]}")
        lines[key] = line
        if isinstance(node, yaml.MappingNode):
            yield from _leaf_nodes(node, f"{key}.", lines, path)
        else:
            yield key, node
