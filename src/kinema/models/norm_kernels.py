"""Batch norm, addition and ReLU over channels-last memory in as few passes as there can be, on the CPU.

A kernel is compiled by numba and run by the threads of torch itself, through the OpenMP library that torch is linked
to: a second pool of threads would fight with the first one, which spins between two calls. bfloat16 values, which numba
does not know, are taken as the upper halves of float32 ones. Sums are float32 over a block of rows and float64 beyond.
"""

import ctypes
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llvmlite import binding, ir
from numba import carray, cfunc, njit, types  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from kinema.compiled import compile_cached

PLAIN, RELU, ADD_RELU = 0, 1, 2
"""What follows the normalization: nothing, ReLU, or the addition of a shortcut and ReLU."""

_SCRATCH = 6
"""float64 values of scratch memory that a thread needs for each column."""
_SMALL = 1 << 15
"""Values that one thread is enough for."""
_WIDTH = 512
"""Columns that rows are joined to, so that loops over columns are worth vectorising."""
_BLOCK = 1 << 16
"""Values that are summed in float32."""


@cache
def openmp() -> Any:
    """The OpenMP library that torch is linked to; None if it has no GNU interface, as elsewhere than on Linux."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        for name in ("omp_get_thread_num", "omp_get_num_threads", "GOMP_barrier"):
            binding.add_symbol(name, ctypes.cast(getattr(library, name), ctypes.c_void_p).value)
        library.GOMP_parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        library.GOMP_parallel.restype = None
    except (OSError, AttributeError):
        return None
    return library


_thread: Any = types.ExternalFunction("omp_get_thread_num", types.int32())
_threads: Any = types.ExternalFunction("omp_get_num_threads", types.int32())
_wait_for_all: Any = types.ExternalFunction("GOMP_barrier", types.void())


_native: Any = intrinsic
_compiled: Any = partial(compile_cached, by=njit, fastmath={"contract", "nsz"}, error_model="numpy")
_called_by_c: Any = partial(compile_cached, by=partial(cfunc, "void(CPointer(int64))"))


@_native  # type: ignore[untyped-decorator]
def _pointer(_context: Any, address: Any) -> Any:
    """An address as a pointer, which `carray` takes."""
    return types.voidptr(address), lambda _, builder, __, given: builder.inttoptr(given[0], cgutils.voidptr_t)


@_native  # type: ignore[untyped-decorator]
def _wide(_context: Any, value: Any) -> Any:
    """A float32, or the bits of a bfloat16, as float32."""

    def generate(_: Any, builder: Any, __: Any, given: Any) -> Any:
        if value == types.float32:
            return given[0]
        word = ir.IntType(32)
        return builder.bitcast(builder.shl(builder.zext(given[0], word), ir.Constant(word, 16)), ir.FloatType())

    return types.float32(value), generate


@_native  # type: ignore[untyped-decorator]
def _as(_context: Any, value: Any, like: Any) -> Any:
    """A float32 in the type of `like`; to bfloat16 it is rounded to nearest, ties to even."""

    def generate(_: Any, builder: Any, __: Any, given: Any) -> Any:
        if like == types.float32:
            return given[0]
        word = ir.IntType(32)
        bits = builder.bitcast(given[0], word)
        odd = builder.and_(builder.lshr(bits, ir.Constant(word, 16)), ir.Constant(word, 1))
        rounded = builder.add(bits, builder.add(odd, ir.Constant(word, 0x7FFF)))
        return builder.trunc(builder.lshr(rounded, ir.Constant(word, 16)), ir.IntType(16))

    return like(value, like), generate


@_compiled
def _sums(x, begin, end, mean, squares, near, s, q):  # type: ignore[no-untyped-def]
    """Of rows `begin` to `end`: each column's mean and sum of squared distances from it (Chan et al., 1979).

    Within a block, distances are from the mean of the blocks before, so that little is lost in their squares.
    """
    columns = x.shape[1]
    mean[:] = 0
    squares[:] = 0
    done = 0.0
    block = max(_BLOCK // columns, 1)
    for start in range(begin, end, block):
        stop = min(start + block, end)
        s[:] = 0
        q[:] = 0
        if start == begin:
            for c in range(columns):
                near[c] = _wide(x[begin, c])
        for i in range(start, stop):
            for c in range(columns):
                distance = _wide(x[i, c]) - near[c]
                s[c] += distance
                q[c] += distance * distance
        count = float(stop - start)
        share = count / (done + count)
        for c in range(columns):
            own = s[c] / count
            step = near[c] + own - mean[c]
            mean[c] += step * share
            squares[c] += max(q[c] - s[c] * own, 0.0) + step * step * done * share
            near[c] = mean[c]
        done += count


@_compiled
def _moments(channel, mean, squares, rows, channels, eps, found):  # type: ignore[no-untyped-def]
    """Put a channel's mean, 1 / deviation and unbiased variance together from all threads' columns of it."""
    threads, columns = mean.shape
    count = float(rows * (columns // channels))
    middle = 0.0
    for t in range(threads):
        part = float(rows * (t + 1) // threads - rows * t // threads)
        for c in range(channel, columns, channels):
            middle += part / count * mean[t, c]
    total = 0.0
    for t in range(threads):
        part = float(rows * (t + 1) // threads - rows * t // threads)
        for c in range(channel, columns, channels):
            total += squares[t, c] + part * (mean[t, c] - middle) ** 2
    found[0, channel] = middle
    found[1, channel] = 1 / np.sqrt(total / count + eps)
    found[2, channel] = total / max(count - 1, 1)


@_compiled
def _write(x, shortcut, y, begin, end, mode, mean, scale, shift):  # type: ignore[no-untyped-def]
    """Normalize rows, the last ones first: those were looked at last."""
    columns = x.shape[1]
    zero = np.float32(0)
    for i in range(end - 1, begin - 1, -1):
        if mode == ADD_RELU:
            for c in range(columns):
                value = (_wide(x[i, c]) - mean[c]) * scale[c] + shift[c] + _wide(shortcut[i, c])
                y[i, c] = _as(zero if value <= zero else value, x[i, c])
        elif mode == RELU:
            for c in range(columns):
                value = (_wide(x[i, c]) - mean[c]) * scale[c] + shift[c]
                y[i, c] = _as(zero if value <= zero else value, x[i, c])
        else:
            for c in range(columns):
                y[i, c] = _as((_wide(x[i, c]) - mean[c]) * scale[c] + shift[c], x[i, c])


@_compiled
def _spread(moments, weight, bias, mean, scale, shift):  # type: ignore[no-untyped-def]
    """What each column's values are reduced by, multiplied by and raised by."""
    channels = moments.shape[1]
    for c in range(len(mean)):
        k = c % channels
        mean[c] = moments[0, k]
        scale[c] = moments[1, k] * weight[k]
        shift[c] = bias[k]


@_compiled
def _forward(arguments, kind):  # type: ignore[no-untyped-def]
    """One thread's part of: x, y, shortcut, moments, weight, bias, work, rows, columns, channels, mode, training."""
    a = carray(arguments, (12,))
    rows, columns, channels, mode, training = a[7], a[8], a[9], a[10], a[11]
    x, y, shortcut = (
        carray(_pointer(a[0]), (rows, columns), kind),
        carray(_pointer(a[1]), (rows, columns), kind),
        carray(_pointer(a[2]), (rows, columns), kind),
    )
    moments = carray(_pointer(a[3]), (3, channels), np.float32)
    weight, bias = carray(_pointer(a[4]), (channels,), np.float32), carray(_pointer(a[5]), (channels,), np.float32)
    t, threads = _thread(), _threads()
    sums = carray(_pointer(a[6]), (2, threads, columns), np.float64)
    own = carray(_pointer(a[6] + sums.nbytes), (threads, 5, columns), np.float32)[t]
    begin, end = rows * t // threads, rows * (t + 1) // threads
    if training:
        eps = np.float64(moments[1, 0])
        _sums(x, begin, end, sums[0, t], sums[1, t], own[0], own[1], own[2])
        _wait_for_all()
        for c in range(channels * t // threads, channels * (t + 1) // threads):
            _moments(c, sums[0], sums[1], rows, channels, eps, moments)
        _wait_for_all()
    _spread(moments, weight, bias, own[2], own[3], own[4])
    _write(x, shortcut, y, begin, end, mode, own[2], own[3], own[4])


@_compiled
def _gradient_sums(x, y, g, begin, end, mode, mean, scale, shift, sums, products, s, q):  # type: ignore[no-untyped-def]
    """Of rows: each column's sums of gradients before the ReLU, and of their products with distances from the mean."""
    columns = x.shape[1]
    zero = np.float32(0)
    sums[:] = 0
    products[:] = 0
    block = max(_BLOCK // columns, 1)
    for start in range(begin, end, block):
        s[:] = 0
        q[:] = 0
        for i in range(start, min(start + block, end)):
            if mode == ADD_RELU:
                for c in range(columns):
                    slope = zero if _wide(y[i, c]) <= zero else _wide(g[i, c])
                    s[c] += slope
                    q[c] += slope * (_wide(x[i, c]) - mean[c])
            elif mode == RELU:
                for c in range(columns):
                    distance = _wide(x[i, c]) - mean[c]
                    slope = zero if distance * scale[c] + shift[c] <= zero else _wide(g[i, c])
                    s[c] += slope
                    q[c] += slope * distance
            else:
                for c in range(columns):
                    slope = _wide(g[i, c])
                    s[c] += slope
                    q[c] += slope * (_wide(x[i, c]) - mean[c])
        for c in range(columns):
            sums[c] += s[c]
            products[c] += q[c]


@_compiled
def _write_gradients(x, y, g, dx, dshortcut, begin, end, mode, mean, scale, shift, per_distance, offset):  # type: ignore[no-untyped-def]
    columns = x.shape[1]
    zero = np.float32(0)
    for i in range(end - 1, begin - 1, -1):
        if mode == ADD_RELU:
            for c in range(columns):  # by itself: loops over more arrays are not vectorised
                dshortcut[i, c] = _as(zero if _wide(y[i, c]) <= zero else _wide(g[i, c]), x[i, c])
            for c in range(columns):
                distance = _wide(x[i, c]) - mean[c]
                dx[i, c] = _as(scale[c] * _wide(dshortcut[i, c]) + per_distance[c] * distance + offset[c], x[i, c])
        elif mode == RELU:
            for c in range(columns):
                distance = _wide(x[i, c]) - mean[c]
                slope = zero if distance * scale[c] + shift[c] <= zero else _wide(g[i, c])
                dx[i, c] = _as(scale[c] * slope + per_distance[c] * distance + offset[c], x[i, c])
        else:
            for c in range(columns):
                distance = _wide(x[i, c]) - mean[c]
                dx[i, c] = _as(scale[c] * _wide(g[i, c]) + per_distance[c] * distance + offset[c], x[i, c])


@_compiled
def _backward(arguments, kind):  # type: ignore[no-untyped-def]
    """One thread's part of: x, y, y's gradient, those of x, shortcut, weight, bias; the rest as in `_forward`."""
    a = carray(arguments, (16,))
    rows, columns, channels, mode, training = a[11], a[12], a[13], a[14], a[15]
    x, y, g, dx, dshortcut = (
        carray(_pointer(a[0]), (rows, columns), kind),
        carray(_pointer(a[1]), (rows, columns), kind),
        carray(_pointer(a[2]), (rows, columns), kind),
        carray(_pointer(a[3]), (rows, columns), kind),
        carray(_pointer(a[4]), (rows, columns), kind),
    )
    dweight, dbias = carray(_pointer(a[5]), (channels,), np.float32), carray(_pointer(a[6]), (channels,), np.float32)
    moments = carray(_pointer(a[7]), (3, channels), np.float32)
    weight, bias = carray(_pointer(a[8]), (channels,), np.float32), carray(_pointer(a[9]), (channels,), np.float32)
    t, threads = _thread(), _threads()
    sums = carray(_pointer(a[10]), (2, threads, columns), np.float64)
    own = carray(_pointer(a[10] + sums.nbytes), (threads, 7, columns), np.float32)[t]
    mean, scale, shift = own[0], own[1], own[2]
    begin, end = rows * t // threads, rows * (t + 1) // threads
    _spread(moments, weight, bias, mean, scale, shift)
    _gradient_sums(x, y, g, begin, end, mode, mean, scale, shift, sums[0, t], sums[1, t], own[3], own[4])
    _wait_for_all()
    for k in range(channels * t // threads, channels * (t + 1) // threads):
        slopes = products = 0.0
        for other in range(threads):
            for c in range(k, columns, channels):
                slopes += sums[0, other, c]
                products += sums[1, other, c]
        dbias[k] = slopes
        dweight[k] = products * moments[1, k]
    _wait_for_all()
    own[5:] = 0
    if training:
        count = np.float32(rows * (columns // channels))
        for c in range(columns):
            k = c % channels
            own[5, c] = -scale[c] * moments[1, k] * dweight[k] / count
            own[6, c] = -scale[c] * dbias[k] / count
    _write_gradients(x, y, g, dx, dshortcut, begin, end, mode, mean, scale, shift, own[5], own[6])


def launch(name: str, tensors: Sequence[Tensor | None], *, mode: int, training: bool) -> None:
    """Run "forward" or "backward" on `tensors`, in the order that `_forward` and `_backward` say; the first is x.

    Batch-norm weights, and what belongs to them, are float32; the others have the dtype of x and its layout,
    channels-last. In training, `moments[1, 0]` brings the epsilon; else moments are given. Of `None` nothing is read.
    """
    x = tensors[0]
    assert x is not None
    channels = columns = x.shape[1]
    rows = x.numel() // channels
    while columns < _WIDTH and rows % 2 == 0:
        rows, columns = rows // 2, columns * 2
    threads = 1 if x.numel() < _SMALL else torch.get_num_threads()
    scratch = torch.empty(threads * _SCRATCH * columns, dtype=torch.float64)
    values = [0 if each is None else each.data_ptr() for each in (*tensors, scratch)]
    values += [rows, columns, channels, mode, training]
    arguments = (ctypes.c_int64 * len(values))(*values)
    openmp().GOMP_parallel(_address(name, x.dtype), arguments, threads, 0)


@cache
def _address(name: str, dtype: torch.dtype) -> Any:
    """Of the compiled function; compiled once, and kept beside this file."""
    return _MAKERS[name](_KINDS[dtype]).address


def _forward_of(kind: Any) -> Any:
    @_called_by_c
    def run(arguments):  # type: ignore[no-untyped-def]
        _forward(arguments, kind)

    return run


def _backward_of(kind: Any) -> Any:
    @_called_by_c
    def run(arguments):  # type: ignore[no-untyped-def]
        _backward(arguments, kind)

    return run


_MAKERS = {"forward": _forward_of, "backward": _backward_of}
_KINDS = {torch.float32: np.float32, torch.bfloat16: np.uint16}
"""What numba sees values as."""
