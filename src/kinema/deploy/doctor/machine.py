"""Checks of Python, torch, processor, GPU, memory and disk."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from kinema.deploy.doctor.result import Result

SHARED_MEMORY = Path("/dev/shm")
_CPU_BUILD = "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu"
_GIB, _MIB = 2**30, 2**20
_BYTES, _SECONDS = 128 * _MIB, 2.0
"""Most bytes that the disk is measured by, and the time after which fewer are enough."""


def check_python() -> Iterator[Result]:
    """Yield the version of Python."""
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield Result(check="Python", state="ok", found=found)
    if sys.platform != "linux":
        yield Result(check="system", state="warn", found=platform.platform(), advice="Kinema is tested on Linux only")


def check_torch() -> Iterator[Result]:
    """Yield the version of torch and whether its build fits the machine."""
    try:
        import torch
        import torchvision
    except (ImportError, OSError) as error:
        yield Result(check="torch", state="fail", found=str(error), advice="reinstall torch and torchvision together")
        return
    found = f"{torch.__version__}, torchvision {torchvision.__version__}"
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        advice = "this build of torch ignores the GPU: pip install --force-reinstall torch torchvision"
        yield Result(check="torch", state="warn", found=f"{found}, built for CPUs", advice=advice)
        return
    yield Result(check="torch", state="ok", found=found)


def check_cpu() -> Iterator[Result]:
    """Yield the kind of processor and the precision that it favours."""
    import torch

    from kinema.runtime.hardware import cpu_name

    capability = torch.backends.cpu.get_cpu_capability()
    flags = cpu_flags()
    wide = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = f"{cpu_name()}, {cores} cores, {' '.join(wide) or capability}; favours {favoured_precision(flags)}"
    if capability == "DEFAULT" and platform.machine() == "x86_64":
        advice = "without AVX2, training takes several times longer; another machine is better"
        yield Result(check="CPU", state="warn", found=found, advice=advice)
        return
    yield Result(check="CPU", state="ok", found=found)


def cpu_flags() -> frozenset[str]:
    """Return the features of the processor as Linux names them; empty elsewhere."""
    try:
        match = re.search(r"^flags\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        match = None
    return frozenset(match[1].split() if match else ())


def favoured_precision(flags: frozenset[str]) -> str:
    """Return the value of --runtime.precision that convolutions are likely to be fastest in.

    AMX multiplies bfloat16 several times faster than AVX-512 multiplies float32. With AVX-512 alone it depends on the
    model, which `auto` measures.
    """
    if "amx_bf16" in flags:
        return "bf16"
    return "fp32 or bf16, which --runtime.precision auto measures" if "avx512_bf16" in flags else "fp32"


def check_gpu() -> Iterator[Result]:
    """Yield each GPU, its driver, and whether it computes."""
    import torch

    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi") and torch.version.cuda is not None:
            advice = "update the driver, or install a torch for the CUDA version that nvidia-smi shows"
            yield Result(check="GPU", state="fail", found="torch cannot use it", advice=advice)
            return
        smaller = f"; a torch without CUDA is smaller: {_CPU_BUILD}" if torch.version.cuda is not None else ""
        yield Result(check="GPU", state="ok", found=f"none, CPUs compute{smaller}")
        return
    for index in range(torch.cuda.device_count()):
        yield _check_one_gpu(index)
    cudnn = torch.backends.cudnn.version() or 0
    if 90800 <= cudnn < 91500:
        advice = "in bf16 and fp16, its convolutions over time are wrong or slow: update torch for cuDNN 9.15 or newer"
        yield Result(check="cuDNN", state="warn", found=str(cudnn), advice=advice)


def _check_one_gpu(index: int) -> Result:
    import torch

    device = torch.device("cuda", index)
    properties = torch.cuda.get_device_properties(device)
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    found = (
        f"{properties.name}, {properties.total_memory / _GIB:.0f} GiB, driver {_driver()}, CUDA {torch.version.cuda}; "
        f"favours {'bf16' if bf16 else 'fp16'}"
    )
    try:
        square = torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)
        right = bool((square == 64).all())
    except RuntimeError as error:
        return Result(check=f"GPU {index}", state="fail", found=f"{found}: {error}", advice="free or reset the GPU")
    if not right:
        return Result(check=f"GPU {index}", state="fail", found=f"{found}: wrong product", advice="replace the GPU")
    return Result(check=f"GPU {index}", state="ok", found=found)


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def check_shared_memory() -> Iterator[Result]:
    """Yield the size of /dev/shm, through which loader processes pass batches."""
    if not SHARED_MEMORY.is_dir():
        return
    usage = shutil.disk_usage(SHARED_MEMORY)
    found = f"{SHARED_MEMORY} has {usage.free / _GIB:.2f} of {usage.total / _GIB:.2f} GiB free"
    if usage.free < _GIB:
        advice = "batches of loader processes pass through it: docker run --shm-size 8g, or train with --data.workers 0"
        yield Result(check="shared memory", state="warn", found=found, advice=advice)
        return
    yield Result(check="shared memory", state="ok", found=found)


def check_open_files() -> Iterator[Result]:
    """Yield the limit of open files of a process."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft} (at most {hard})"
    if 0 <= soft < 4096:
        advice = "loader processes share memory by open files: ulimit -n 65536 before training"
        yield Result(check="open files", state="warn", found=found, advice=advice)
        return
    yield Result(check="open files", state="ok", found=found)


def check_disk(folder: Path) -> Iterator[Result]:
    """Yield the free space of a folder's disk, and how fast a file is written and read."""
    if not folder.is_dir():
        yield Result(check="disk", state="fail", found=f"no folder {folder}", advice="pass a folder with --folder")
        return
    free = shutil.disk_usage(folder).free
    try:
        written, read = disk_speed(folder)
    except OSError as error:
        advice = "choose another folder with --folder, or free space"
        yield Result(check="disk", state="fail", found=f"{folder}: {error.strerror or error}", advice=advice)
        return
    found = f"{folder.absolute()}: {free / _GIB:.1f} GiB free, writes {written:.0f} MB/s, reads {read:.0f} MB/s"
    if free < 5 * _GIB or min(written, read) < 50:
        advice = "keep data and runs on a local SSD, with some GiB free for checkpoints"
        yield Result(check="disk", state="warn", found=found, advice=advice)
        return
    yield Result(check="disk", state="ok", found=found)


def disk_speed(folder: Path) -> tuple[float, float]:
    """Return the speed of writing and reading a temporary file in `folder`, in MB/s.

    At most 128 MiB, fewer where these take longer than two seconds. What was written is dropped from the page cache
    before it is read, where the system allows that.
    """
    block = os.urandom(4 * _MIB)
    with tempfile.TemporaryFile(dir=folder) as file:
        start, size = time.perf_counter(), 0
        while size < _BYTES and time.perf_counter() - start < _SECONDS:
            size += file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written = size / max(time.perf_counter() - start, 1e-9)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        start, size = time.perf_counter(), 0
        while (part := file.read(len(block))) and time.perf_counter() - start < _SECONDS:
            size += len(part)
        return written / 1e6, size / max(time.perf_counter() - start, 1e-9) / 1e6


def check_cache() -> Iterator[Result]:
    """Yield whether the cache of published weights can be written to."""
    from kinema.weights.published.cache import cache_folder

    folder = cache_folder()
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        advice = "set KINEMA_CACHE to a folder that you may write to"
        yield Result(check="cache", state="fail", found=f"{folder} is not writable", advice=advice)
        return
    yield Result(check="cache", state="ok", found=str(folder))
