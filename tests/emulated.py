"""Programs in a process of their own, on a CPU whose instruction sets are those of an older one."""

import ctypes.util
import os
import subprocess
import sys
from pathlib import Path

_VARIABLES: dict[str, dict[str, str]] = {
    isa: {
        "ATEN_CPU_CAPABILITY": of_torch,
        "MKL_ENABLE_INSTRUCTIONS": of_mkl,
        "NUMBA_CPU_NAME": of_numba,
        "NUMBA_CPU_FEATURES": "",
    }
    for isa, of_torch, of_mkl, of_numba in [
        ("SSE41", "default", "SSE4_2", "nehalem"),
        ("AVX2", "avx2", "AVX2", "haswell"),
        ("AVX512_CORE", "avx512", "AVX512", "skylake-avx512"),
        ("AVX512_CORE_BF16", "avx512", "AVX512_E3", "cooperlake"),
    ]
} | {"DEFAULT": {}}
"""oneDNN's instruction sets, and what torch's own, MKL's and numba's kernels have then; DEFAULT: all there are."""
_FLAGS = {"AVX2": "avx2", "AVX512_CORE": "avx512bw", "AVX512_CORE_BF16": "avx512_bf16"}
"""A flag in /proc/cpuinfo of processors that have an instruction set."""
ROOT = Path(__file__).parents[1]


def _processor_flags() -> set[str]:
    path = Path("/proc/cpuinfo")
    return set(path.read_text().split()) if path.exists() else set()


def _emulated() -> list[str]:
    """Return the instruction sets that this processor has: oneDNN ignores others, torch and numba would crash."""
    flags = _processor_flags()
    return [isa for isa in _VARIABLES if isa not in _FLAGS or _FLAGS[isa] in flags]


def has_amx() -> bool:
    """Return whether DEFAULT computes bfloat16 in AMX."""
    return "amx_bf16" in _processor_flags()


CPUS = _emulated()
"""What `environment` takes on this machine."""


def environment(isa: str, *, check_memory: bool = False) -> dict[str, str]:
    """Return this process's environment, for `isa` of `CPUS`; `check_memory`: glibc ends a process that harms it."""
    values = {key: value for key, value in os.environ.items() if key not in _VARIABLES["AVX2"]}
    values |= {"ONEDNN_MAX_CPU_ISA": isa, **_VARIABLES[isa]}
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
