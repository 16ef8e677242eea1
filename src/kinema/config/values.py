"""Values of options: validation by the type of the field, description, command-line form."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kinema.errors import UserError, did_you_mean

T = TypeVar("T")

_BOUNDS = {
    "exclusiveMinimum": "above",
    "minimum": "at least",
    "exclusiveMaximum": "below",
    "maximum": "at most",
    "multipleOf": "a multiple of",
}
_NAMES = {
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "string": "text",
    "null": "nothing",
}


def check(hint: Any, value: object) -> object:
    """Convert a value, such as a string of the command line, to the type of a field.

    Raises:
        ValueError: the type does not allow the value; the message says what was found and what is allowed.
    """
    adapter = _adapter(hint)
    for reading in _readings(value):
        try:
            checked = adapter.validate_python(reading)
        except ValidationError:
            continue
        # pydantic takes true for 1.0, but `--optim.lr` without its value must not set a learning rate of 1.
        if _has_bool(checked) or not _has_bool(value):
            return checked
    found = "true (a key without a value means true)" if value is True else repr(value)
    raise ValueError(f"found {found}; allowed: {allowed(hint)}")


def options_from(kind: type[T], values: Mapping[str, Any], *, origin: str) -> T:
    """Return a dataclass of options with `values`, as `dataclasses.asdict` gives them, or JSON of that.

    Raises:
        UserError: a field is unknown, or does not allow its value; the message begins with `origin`.
    """
    known = list(kind.__dataclass_fields__)  # type: ignore[attr-defined]
    for name in values:
        if name not in known:
            raise UserError(f"{origin}: unknown option '{name}' of {kind.__name__}{did_you_mean(name, known)}")
    try:
        return TypeAdapter(kind).validate_python(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, found {fault['input']!r}" for fault in error.errors()
        )
        raise UserError(f"{origin}: {faults}") from error


def allowed(hint: Any) -> str:
    """Describe the values of a type: `a number above 0 or none` for `Annotated[float, Gt(0)] | Literal["none"]`."""
    return _in_words(_adapter(hint).json_schema())


def as_argument(value: object) -> str:
    """Return a value as on the command line: `40 80`, `true`, `'two words'`."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return shlex.quote(value)
        case tuple() if value:
            return " ".join(map(as_argument, value))
        case tuple():
            return "''"
        case _:
            return repr(value)


def _adapter(hint: Any) -> TypeAdapter[object]:
    return TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False))


def _readings(value: object) -> Iterator[object]:
    """Yield the value, then other readings of its text: integer `Literal`, only item of a list, empty list."""
    yield value
    if isinstance(value, str) and value.removeprefix("-").isdecimal():
        yield int(value)
    if not isinstance(value, list):
        yield [] if value == "" else [value]


def _has_bool(value: object) -> bool:
    return any(isinstance(item, bool) for item in (value if isinstance(value, list | tuple) else [value]))


def _in_words(schema: dict[str, Any]) -> str:
    """Describe a JSON schema of the few kinds that options have."""
    match schema:
        case {"anyOf": [*options]}:
            return " or ".join(_in_words(option) for option in options if "$ref" not in option)
        case {"const": value}:
            return as_argument(value)
        case {"enum": [*values]}:
            return "one of " + ", ".join(map(as_argument, values))
        case {"prefixItems": [*items]}:
            kinds = [_in_words(item) for item in items]
            each = f", each {kinds[0]}" if len(set(kinds)) == 1 else ": " + ", ".join(kinds)
            return f"{len(items)} values{each}"
        case {"items": dict(item)}:
            return f"a list, each {_in_words(item)}"
        case _:
            bounds = [f"{words} {schema[name]}" for name, words in _BOUNDS.items() if name in schema]
            return " ".join([_NAMES[str(schema["type"])], " and ".join(bounds)]).strip()
