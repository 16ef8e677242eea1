"""The result of a check."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a check found. fail: does not work; warn: slower than it could be, or likely to fail."""

    check: str
    state: State
    found: str
    advice: str = ""
    """What to do, unless all is well."""
