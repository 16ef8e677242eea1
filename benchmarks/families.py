"""Forward passes and training steps of Kinema's networks beside the same networks of other packages.

    python benchmarks/families.py [CASE …] [--precisions fp32 bf16] [--rounds 5] [--threads 2] [--memory]

Both have random weights and the same normalized clips; a step is forward, cross-entropy, backward and AdamW. They take
turns in one process, and the least time of all rounds counts, as other programs on the machine only add to it. Ratios,
theirs to Kinema's, and the share of the peak are of CPU time of all threads. The peak is that of a large matrix product
in the same rounds; its share counts multiply-adds as `kinema recipes` does, three times for a step. Memory is the
resident peak of a process of its own that takes two steps.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import video

from kinema import build_model
from kinema.models.complexity import complexity
from kinema.runtime.device import RuntimeOptions, to_device
from kinema.runtime.memory import peak_resident_gib

PEAK_SIDE = 2048


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network of both, for clips of a size."""

    recipe: str
    theirs: Callable[[], nn.Module]
    """Returns a network from normalized clips `(N, C, T, H, W)` to logits."""
    frames: int
    size: int = 224
    clips: int = 1
    values: Mapping[str, object] = field(default_factory=dict)
    """Changed options of the recipe, by dotted key."""

    def ours(self) -> nn.Module:
        """Kinema's network."""
        return build_model(self.recipe, dict(self.values))


class FramesFirst(nn.Module):
    """A network of transformers, which takes `(N, T, C, H, W)`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        """Clips `(N, C, T, H, W)` → logits."""
        logits: Tensor = self.network(clips.transpose(1, 2)).logits
        return logits


def videomae(width: int, heads: int) -> nn.Module:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    config = VideoMAEConfig(hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width)
    config.num_labels = 400
    return FramesFirst(VideoMAEForVideoClassification(config))


def timesformer() -> nn.Module:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig()
    config.num_labels = 400
    return FramesFirst(TimesformerForVideoClassification(config))


def vjepa2(width: int, depth: int, heads: int, *, frames: int, size: int, frozen: bool = False) -> nn.Module:
    from transformers import VJEPA2Config, VJEPA2ForVideoClassification

    config = VJEPA2Config(
        hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, frames_per_clip=frames, crop_size=size
    )
    config.num_labels = 400
    network = VJEPA2ForVideoClassification(config)
    network.vjepa2.predictor = None  # which classification does not use
    network.vjepa2.requires_grad_(not frozen)
    return FramesFirst(network)


def of_vjepa2(width: int, depth: int, heads: int, *, frames: int, size: int, frozen: bool = False) -> Case:
    options = {"width": width, "depth": depth, "heads": heads, "probe_heads": heads, "frames": frames, "size": size}
    options |= {"frozen_stages": depth if frozen else -1}
    return Case(
        recipe="vjepa2_l_16x4_small",
        theirs=lambda: vjepa2(width, depth, heads, frames=frames, size=size, frozen=frozen),
        frames=frames,
        size=size,
        values={f"model.{name}": value for name, value in options.items()},
    )


def x3d_m() -> nn.Module:
    from pytorchvideo.models.x3d import create_x3d

    return create_x3d(input_clip_length=16, input_crop_size=224, head_activation=None)


class FramesAveraged(nn.Module):
    """An image network on each frame of clips `(N, C, T, H, W)`, whose logits are averaged."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, clips: Tensor) -> Tensor:
        """Clips `(N, C, T, H, W)` → logits."""
        logits: Tensor = self.network(clips.transpose(1, 2).flatten(0, 1))
        return logits.unflatten(0, (len(clips), -1)).mean(dim=1)


def mobilenetv4() -> nn.Module:
    import timm

    return FramesAveraged(timm.create_model("mobilenetv4_conv_small", num_classes=400))


CASES = {
    "x3d_m": Case(recipe="x3d_m_16x5_kinetics400", theirs=x3d_m, frames=16),
    "s3d": Case(recipe="s3d_64x2_kinetics400", theirs=video.s3d, frames=16),
    "swin3d_t": Case(recipe="swin3d_t_32x2_kinetics400", theirs=video.swin3d_t, frames=16),
    "mvitv2_s": Case(recipe="mvitv2_s_16x4_kinetics400", theirs=video.mvit_v2_s, frames=16),
    "tsn_mobilenetv4": Case(recipe="tsn_mobilenetv4_1x1x8_small", theirs=mobilenetv4, frames=8, size=128, clips=8),
    "videomae_s": Case(recipe="videomae_s_16x4_kinetics400", theirs=lambda: videomae(384, 6), frames=16),
    "videomae_b": Case(recipe="videomae_b_16x4_kinetics400", theirs=lambda: videomae(768, 12), frames=16),
    "timesformer_b": Case(recipe="timesformer_b_8x32_kinetics400", theirs=timesformer, frames=8),
    "vjepa2_s": of_vjepa2(384, 12, 6, frames=16, size=128),
    "vjepa2_l": of_vjepa2(1024, 24, 16, frames=8, size=128),
    "vjepa2_l_frozen": of_vjepa2(1024, 24, 16, frames=8, size=128, frozen=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=[*CASES])
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true", help="measure memory, too")
    parser.add_argument("--memory-of", choices=["ours", "theirs"], help="take two steps and print the peak in GiB")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print_memory(CASES[options.cases[0]], options.memory_of, options.precisions[0])
        return
    columns = ["network", "clips", "precision", "forward, s", "ratio", "step, s", "ratio", "of the peak"]
    columns += ["memory, GiB", "theirs"] if options.memory else []
    print(f"| {' | '.join(columns)} |")
    print(f"|{'---|' * len(columns)}")
    for name in options.cases:
        for precision in options.precisions:
            print(row(name, precision, options), flush=True)


def row(name: str, precision: str, options: argparse.Namespace) -> str:
    """The row of a table."""
    case = CASES[name]
    networks = {who: network(case, who) for who in ("ours", "theirs")}
    optimizers = {who: torch.optim.AdamW(each.parameters(), fused=True) for who, each in networks.items()}
    clips = clips_of(case)
    forward: dict[str, list[Times]] = {who: [] for who in networks}
    step: dict[str, list[Times]] = {who: [] for who in networks}
    peak = 0.0
    for number in range(options.rounds + 1):  # the first warms up
        peak = max(peak, multiply_adds_per_second(precision))
        for who in [*networks][:: 1 if number % 2 else -1]:  # neither always finds the other's memory freed
            each = networks[who]
            forward[who].append(timed(lambda each=each: forward_pass(each, clips, precision)))
            step[who].append(timed(lambda each=each, who=who: training_step(each, optimizers[who], clips, precision)))
    cells = [name, f"{case.clips}×{case.frames}×{case.size}²", precision]
    for times in (forward, step):
        wall, ours, theirs = least(times["ours"], "wall"), least(times["ours"], "cpu"), least(times["theirs"], "cpu")
        cells += [f"{wall:.2f}", f"{theirs / ours:.2f}"]
    _, macs = complexity(case.ours(), (case.clips, 3, case.frames, case.size, case.size))
    trained = all(parameter.requires_grad for parameter in networks["ours"].parameters())
    cells.append(f"{3 * macs / least(step['ours'], 'cpu') / peak:.0%}" if trained else "–")
    for who in ("ours", "theirs") if options.memory else ():
        cells.append(f"{peak_memory(name, who, precision, options.threads):.2f}")
    return f"| {' | '.join(cells)} |"


def network(case: Case, who: str) -> nn.Module:
    torch.manual_seed(0)
    if who == "theirs":
        return case.theirs().train()
    own = case.ours().train()
    for module in own.modules():
        if type(module).__name__ == "StochasticDepth":  # torchvision's or Kinema's
            module.p = 0.0  # which the other package lacks
    return to_device(own, torch.device("cpu"), RuntimeOptions(device="cpu"))


def clips_of(case: Case) -> Tensor:
    """Normalized clips in the memory order of the data path."""
    return torch.randn(case.clips, case.frames, case.size, case.size, 3).permute(0, 4, 1, 2, 3)


def forward_pass(network: nn.Module, clips: Tensor, precision: str) -> None:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        network(clips)


def training_step(network: nn.Module, optimizer: torch.optim.Optimizer, clips: Tensor, precision: str) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits = network(clips)
    F.cross_entropy(logits.float(), torch.arange(len(clips))).backward()
    optimizer.step()
    optimizer.zero_grad()


def multiply_adds_per_second(precision: str) -> float:
    """Of CPU time, in the best of three products of large square matrices."""
    a = torch.randn(PEAK_SIDE, PEAK_SIDE, dtype=torch.bfloat16 if precision == "bf16" else torch.float32)
    return PEAK_SIDE**3 / min(timed(lambda: torch.mm(a, a)).cpu for _ in range(3))


class Times(NamedTuple):
    """Seconds, and those of CPU of all threads together."""

    wall: float
    cpu: float


def least(times: Sequence[Times], clock: str) -> float:
    return min(getattr(each, clock) for each in times)


def timed(work: Callable[[], object]) -> Times:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Times(time.perf_counter() - wall, time.process_time() - cpu)


def print_memory(case: Case, who: str, precision: str) -> None:
    own, clips = network(case, who), clips_of(case)
    optimizer = torch.optim.AdamW(own.parameters(), fused=True)
    for _ in range(2):
        training_step(own, optimizer, clips, precision)
    print(peak_resident_gib())


def peak_memory(name: str, who: str, precision: str, threads: int) -> float:
    """GiB."""
    command = [sys.executable, __file__, name, "--precisions", precision, "--memory-of", who]
    return float(subprocess.check_output([*command, "--threads", str(threads)], text=True))


if __name__ == "__main__":
    main()
