"""Programs in a process of their own, on a CPU whose instruction sets are those of an older one."""

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

CPUS = {
    "SSE41": {"ATEN_CPU_CAPABILITY": "default", "NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
    "AVX512_CORE": {"ATEN_CPU_CAPABILITY": "avx512", "NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES": ""},
    "DEFAULT": {},
}
"""oneDNN's instruction sets, and what torch's own and numba's kernels have then; DEFAULT: all there are."""
ROOT = Path(__file__).parents[1]


def environment(isa: str, *, check_memory: bool = False) -> dict[str, str]:
    """Return this process's environment, for `isa` of `CPUS`; `check_memory`: glibc ends a process that harms it."""
    values = {key: value for key, value in os.environ.items() if key not in CPUS["AVX2"]}
    values |= {"ONEDNN_MAX_CPU_ISA": isa, **CPUS[isa]}
    values["OMP_WAIT_POLICY"] = "PASSIVE"  # threads beyond the cores would spin
    if check_memory:
        values["MALLOC_CHECK_"] = "3"
        if ctypes.util.find_library("c_malloc_debug"):  # without it glibc ≥ 2.34 does not check
            values["LD_PRELOAD"] = "libc_malloc_debug.so.0"
    values["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return values


def run(*arguments: str, isa: str, seconds: float, check_memory: bool = False) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments`.

    Raises:
        subprocess.TimeoutExpired: it did not end in `seconds`; it is killed.
    """
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment(isa, check_memory=check_memory),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
