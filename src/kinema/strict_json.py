"""JSON as its standard has it: no NaN and no infinity, at which strict readers stop."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any


def dumps(
    value: Any, *, indent: int | None = None, ensure_ascii: bool = True, default: Callable[[Any], Any] | None = None
) -> str:
    """Return `value` as JSON text, as `json.dumps` does, with `null` for every float that is not finite."""
    try:
        return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii, default=default, allow_nan=False)
    except ValueError:
        finite = _finite(value)
        return json.dumps(finite, indent=indent, ensure_ascii=ensure_ascii, default=default, allow_nan=False)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _finite(item) for key, item in value.items()}
        case list() | tuple():
            return [_finite(item) for item in value]
        case _:
            return value
