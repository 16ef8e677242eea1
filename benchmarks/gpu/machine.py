"""The device, versions, and its peak rates: as its vendor states them, and as measured."""

import importlib
import os
import platform

import torch
from benchmarks.gpu.runner import Context

from kinema.benchmark.measure.hardware import matmul_flops
from kinema.runtime.hardware import machine

PEAKS = {
    "H100 PCIe": (756, "NVIDIA H100 PCIe product brief, PB-11133-001"),
    "H100 NVL": (835, "NVIDIA H100 NVL product brief, PB-11773-001"),
    "H100": (989, "NVIDIA H100 data sheet, SXM"),
    "H200 NVL": (836, "NVIDIA H200 data sheet, NVL"),
    "GH200": (990, "NVIDIA GH200 data sheet"),
    "H200": (989, "NVIDIA H200 data sheet, SXM"),
    "A100": (312, "NVIDIA A100 data sheet"),
}
"""Dense bf16 TFLOP/s and their source, by a part of the device's name; the first that occurs counts."""
PACKAGES = ("torchvision", "numba", "av", "simplejpeg", "torchcodec", "transformers", "pytorchvideo", "triton")


def peak_tflops(name: str) -> tuple[float, str] | None:
    """Return the bf16 peak of a GPU and its source; None if it is not in the table."""
    words = name.replace("-", " ")
    return next((peak for part, peak in PEAKS.items() if part in words), None)


def run(context: Context) -> None:
    """Describe the machine."""

    def tell(what: str, value: object, source: str = "") -> None:
        context.emit("machine", what=what, value=value, **({"source": source} if source else {}))

    tell("device", machine(context.device))
    tell("cores", len(os.sched_getaffinity(0)))
    tell("Python", platform.python_version())
    tell("torch", torch.__version__)
    for name in PACKAGES:
        tell(name, _version(name))
    if not context.gpu:
        context.emit("machine", what="GPU", left_out="the device is a CPU")
        return
    properties = torch.cuda.get_device_properties(context.device)
    tell("CUDA", torch.version.cuda)
    tell("cuDNN", torch.backends.cudnn.version())
    tell("NCCL", ".".join(map(str, torch.cuda.nccl.version())))
    tell("compute capability", f"{properties.major}.{properties.minor}")
    tell("multiprocessors", properties.multi_processor_count)
    stated = peak_tflops(properties.name)
    if stated:
        tell("bf16 peak as stated, TFLOP/s", stated[0], stated[1])
    else:
        context.emit("machine", what="bf16 peak as stated", left_out=f"{properties.name} is not in the table")
    for dtype in (torch.bfloat16, torch.float16):
        rate = matmul_flops(context.device, dtype) / 1e12
        tell(f"{dtype} product of 8192×8192, TFLOP/s", rate, "measured")
    tell("copy on the device, GB/s read and written", _copy_rate(context.device) / 1e9, "measured")


def _version(name: str) -> str:
    try:
        return str(getattr(importlib.import_module(name), "__version__", "unknown version"))
    except Exception as error:  # a package may fail in any way where its libraries are missing
        return f"not usable: {type(error).__name__}"


def _copy_rate(device: torch.device) -> float:
    source = torch.empty(2**31, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(10):
        target.copy_(source)
    end.record()
    torch.cuda.synchronize(device)
    return 2 * 10 * source.numel() / (start.elapsed_time(end) / 1000)
