"""Loops that numba compiles."""

from collections.abc import Callable
from functools import cache, wraps
from types import FunctionType
from typing import Any, TypeVar, cast

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function) -> _Function:
    """Compile `function` by `numba.njit` when it is first called.

    numba is imported then, as modules with loops are imported by commands that need none. Functions that it calls may
    be compiled too.
    """
    loop = cast(FunctionType, function)

    @cache
    def dispatcher() -> Any:
        import numba

        for name in loop.__code__.co_names:  # what numba compiles calls dispatchers, not these wrappers
            called: Any = loop.__globals__.get(name)
            if hasattr(called, "dispatcher"):
                loop.__globals__[name] = called.dispatcher()
        return compile_cached(loop, by=numba.njit)

    @wraps(loop)
    def call(*arguments: Any, **keywords: Any) -> Any:
        return dispatcher()(*arguments, **keywords)

    call.dispatcher = dispatcher  # type: ignore[attr-defined]
    return cast(_Function, call)


def compile_cached(function: _Function, *, by: Callable[..., Any], **options: Any) -> _Function:
    """Return `function` compiled `by` numba with `options`, and keep that beside its source or in the user's cache.

    Where neither may be written to, which numba takes for an error, each process compiles.
    """
    try:
        result: _Function = by(cache=True, **options)(function)
    except RuntimeError:
        result = by(**options)(function)
    return result
