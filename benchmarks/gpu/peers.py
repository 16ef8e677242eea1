"""The same networks of other packages in the same process: torchvision, transformers, pytorchvideo.

A step is forward, cross-entropy, backward and AdamW on normalized clips; both take turns. `same_arithmetic`: both in
bf16. `defaults`: theirs as their package leaves it, fp32 with torch's defaults, beside Kinema in bf16. A ratio above 1
means that Kinema is faster.
"""

import gc
import importlib
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from benchmarks.families import CASES, Case
from benchmarks.gpu.runner import Context
from benchmarks.gpu.stepping import timed
from torch import Tensor, nn
from torchvision.models import video

from kinema.runtime.device import RuntimeOptions, set_gpu_arithmetic, to_device

BATCH = 8
OWN = ("x3d_m", "swin3d_t", "mvitv2_s", "videomae_b", "s3d", "timesformer_b")


class Pathways(nn.Module):
    """pytorchvideo's SlowFast, which takes the clips of both pathways."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        """Clips `(N, C, T, H, W)` → logits."""
        logits: Tensor = self.network([clips[:, :, ::8].contiguous(), clips])
        return logits


def slowfast() -> nn.Module:
    from pytorchvideo.models import create_slowfast

    network = create_slowfast(
        slowfast_channel_reduction_ratio=(8,), slowfast_conv_channel_fusion_ratio=2, model_num_class=400,
        slowfast_fusion_conv_kernel_size=(5, 1, 1), slowfast_fusion_conv_stride=(8, 1, 1),
        head_pool_kernel_sizes=((4, 7, 7), (32, 7, 7)),
    )  # fmt: skip
    return Pathways(network)


def slowonly() -> nn.Module:
    from pytorchvideo.models import create_resnet

    return create_resnet(
        input_channel=3, model_depth=50, model_num_class=400, stem_conv_kernel_size=(1, 7, 7), dropout_rate=0.5,
        head_pool_kernel_size=(4, 7, 7), head_activation=None,
    )  # fmt: skip


def i3d() -> nn.Module:
    from pytorchvideo.models.hub.resnet import i3d_r50

    return i3d_r50(pretrained=False, head_activation=None)


def cases() -> Iterator[tuple[str, str, Case]]:
    """Name, package and case, the most wanted first."""
    slow = "slowonly_r50_video_4x16x1_256e_kinetics400_rgb"
    fast = "slowfast_r50_video_4x16x1_256e_kinetics400_rgb"
    yield "slowfast", "pytorchvideo", Case(recipe=fast, theirs=slowfast, frames=32)
    own = "r2plus1d_18_video_16x2x1_225e_kinetics400_rgb"
    yield "r2plus1d_18", "torchvision", Case(recipe=own, theirs=video.r2plus1d_18, frames=16, size=112)
    for name in OWN[:4]:
        yield name, _package(name), CASES[name]
    yield "slowonly", "pytorchvideo", Case(recipe=slow, theirs=slowonly, frames=4)
    inflated = "i3d_r50_video_8x8x1_100e_kinetics400_rgb"
    yield "i3d 8x8", "pytorchvideo", Case(recipe=inflated, theirs=i3d, frames=8)
    for name in OWN[4:]:
        yield name, _package(name), CASES[name]


def _package(name: str) -> str:
    packages: Mapping[str, str] = {
        "x3d_m": "pytorchvideo",
        "videomae_b": "transformers",
        "timesformer_b": "transformers",
    }
    return packages.get(name, "torchvision")


def run(context: Context) -> None:
    """Compare each network whose package can be imported."""
    _make_pytorchvideo_importable()
    chosen = list(cases())
    for name, package, case in chosen[:2] if context.short else chosen:
        if context.left() < 6:
            context.emit("peers", network=name, package=package, left_out="no time left")
            continue
        try:
            importlib.import_module(f"{package}.models" if package != "transformers" else package)
        except Exception as error:
            context.emit("peers", network=name, package=package, left_out=f"{package} cannot be imported: {error}")
            continue
        small = replace(case, frames=8 if name != "slowfast" else 32, size=64 if name != "slowfast" else 224)
        _compare(context, name, package, small if context.short else case)


def _compare(context: Context, name: str, package: str, case: Case) -> None:
    """Step of both in bf16, and of theirs by default."""
    if context.short and name == "slowfast":
        context.emit("peers", network=name, package=package, left_out="too large for --short; built only")
        case.theirs()
        return
    if context.gpu:
        set_gpu_arithmetic(RuntimeOptions(tf32=False))
        torch.backends.cudnn.allow_tf32 = True  # torch's default: convolutions in TF32, products in fp32
    shape = (1 if context.short else BATCH, case.frames, case.size, case.size, 3)
    clips = torch.randn(shape, device=context.device).permute(0, 4, 1, 2, 3)
    variants = {
        "ours": (_ours(case, context.device), clips, True),
        "theirs, bf16": (case.theirs().to(context.device).train(), clips.contiguous(), True),
        "theirs, default": (case.theirs().to(context.device).train(), clips.contiguous(), False),
    }
    steps = {variant: _step(*parts) for variant, parts in variants.items()}
    seconds: dict[str, list[float]] = {variant: [] for variant in steps}
    for _ in range(1 if context.short else 3):
        for variant, step in steps.items():
            times = timed(step, context.device, seconds=0.2, blocks=1, warmup=1 if seconds[variant] else 3)
            seconds[variant].append(times.device)
    least = {variant: min(times) for variant, times in seconds.items()}
    context.emit(
        "peers", network=name, package=package, batch_size=len(clips), ours_ms=1000 * least["ours"],
        theirs_ms=1000 * least["theirs, bf16"], same_arithmetic=least["theirs, bf16"] / least["ours"],
        theirs_default_ms=1000 * least["theirs, default"], defaults=least["theirs, default"] / least["ours"],
    )  # fmt: skip
    del steps, variants
    gc.collect()
    if context.gpu:
        torch.cuda.empty_cache()


def _ours(case: Case, device: torch.device) -> nn.Module:
    network = case.ours().train()
    for module in network.modules():
        if type(module).__name__ == "StochasticDepth":  # torchvision's or Kinema's
            module.p = 0.0  # which some packages lack
    return to_device(network, device, RuntimeOptions())


def _step(network: nn.Module, clips: Tensor, bf16: bool) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    labels = torch.zeros(len(clips), dtype=torch.int64, device=clips.device)

    def step() -> None:
        with torch.autocast(clips.device.type, torch.bfloat16, enabled=bf16):
            logits = network(clips)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _make_pytorchvideo_importable() -> None:
    """Provide torchvision.transforms.functional_tensor for pytorchvideo, which torchvision 0.17 removed."""
    import torchvision.transforms.functional as functional

    stub = types.ModuleType("torchvision.transforms.functional_tensor")
    stub.__dict__.update(vars(functional))
    sys.modules["torchvision.transforms.functional_tensor"] = stub
