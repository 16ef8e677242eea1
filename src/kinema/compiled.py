"""Loops that numba compiles."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function, *, by: Callable[..., Any] = numba.njit, **options: Any) -> _Function:
    """`function` compiled when it is first called, and kept beside its source or in the user's cache from then on.

    Where neither may be written to, which numba takes for an error, it is compiled anew by each process. `by` is what
    compiles, with `options`.
    """
    try:
        made: _Function = by(cache=True, **options)(function)
    except RuntimeError:
        made = by(**options)(function)
    return made
