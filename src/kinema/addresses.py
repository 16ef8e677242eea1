"""Classes and functions by address: `package.module:name`, or `my_file.py:name` for a file of one's own."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

from kinema.errors import UserError, did_you_mean

_PREFIX = "kinema_file_"
"""Begins the names of modules that were loaded from a file."""


def load_address(address: str, *, what: str = "name") -> Any:
    """Return the class or function that `address` names, executing its file or importing its module.

    Args:
        address: `package.module:name` or `path/to/file.py:name`.
        what: kind of object, for messages.

    Raises:
        UserError: there is no such file, module or name.
    """
    home, _, name = address.rpartition(":")
    is_module = all(part.isidentifier() for part in home.split(".")) and not home.endswith(".py")
    module = _import(home, what) if is_module else _load_file(Path(home), what)
    if not callable(found := getattr(module, name, None)):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise UserError(f"'{home}' has no {what} '{name}'{did_you_mean(name, names)}")
    return found


def address_of(value: Any) -> str:
    """Return the address under which `load_address` finds a class or function, with the absolute path of a file."""
    module = value.__module__
    file = getattr(sys.modules[module], "__file__", None)
    home = str(Path(file).resolve()) if module.startswith(_PREFIX) and file else module
    return f"{home}:{value.__qualname__}"


def _import(module: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"no module '{module}' to load a {what} from; pass package.module:name or my_file.py:name"
        ) from error


def _load_file(path: Path, what: str) -> ModuleType:
    """Execute a file once for each of its versions: its classes stay the same objects."""
    if not path.is_file():
        raise UserError(f"no file '{path}' to load a {what} from")
    path = path.resolve()
    version = f"{path.stat().st_mtime_ns:x}_{path.stat().st_size:x}"
    name = f"{_PREFIX}{path.stem}_{crc32(str(path).encode()):08x}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__version_of_file__", "") == version:
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"'{path}' is not a Python file; pass my_file.py:name")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look up the names in their annotations
    spec.loader.exec_module(module)
    module.__dict__["__version_of_file__"] = version
    return module
