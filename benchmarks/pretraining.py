"""A step of VideoMAE's pre-training beside that of transformers, and the share of the encoder.

    python -m benchmarks.pretraining [--size s|b] [--clips 2] [--precisions fp32 bf16] [--rounds 5] [--threads 2]

Both have random weights of the same sizes and take turns in one process; a step is forward, loss, backward and AdamW,
under masks that hide nine tenths. Kinema's takes uint8 clips, transformers' normalized ones. The least CPU time of all
threads counts. Memory is the resident peak of a process of its own that takes two steps.
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.families import Times, least, timed
from torch import Tensor, nn

from kinema.models.complexity import complexity
from kinema.models.videomae_pretraining import VideoMAEPretraining
from kinema.recipes import build_model
from kinema.runtime.memory import peak_resident_gib
from kinema.tasks.pretraining.masking import mask_loss

SIZES = {"s": (384, 6, 192, 3), "b": (768, 12, 384, 6)}
"""Width and heads of the encoder and of the decoder."""


class Ours(nn.Module):
    def __init__(self, size: str) -> None:
        super().__init__()
        self.network: Any = build_model(f"videomae_{size}_16x4_pretrain")

    def forward(self, clips: Tensor, hidden: Tensor) -> Tensor:
        """Return the loss of `uint8` clips."""
        visible, decoded = (each.nonzero()[:, 1].view(len(clips), -1) for each in (~hidden, hidden))
        targets = self.network.targets(clips, decoded, normalize=True)
        total, count = mask_loss(self.network(clips, visible, decoded), targets, torch.ones_like(decoded).bool())
        return total / count


class Theirs(nn.Module):
    def __init__(self, size: str) -> None:
        super().__init__()
        from transformers import VideoMAEConfig, VideoMAEForPreTraining

        width, heads, decoder_width, decoder_heads = SIZES[size]
        config = VideoMAEConfig(
            hidden_size=width, num_attention_heads=heads, intermediate_size=4 * width, use_mean_pooling=False,
            decoder_hidden_size=decoder_width, decoder_num_attention_heads=decoder_heads,
            decoder_intermediate_size=4 * decoder_width,
        )  # fmt: skip
        self.network = VideoMAEForPreTraining(config)

    def forward(self, clips: Tensor, hidden: Tensor) -> Tensor:
        """Return the loss of normalized clips."""
        return self.network(clips.transpose(1, 2), bool_masked_pos=hidden).loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="b")
    parser.add_argument("--clips", type=int, default=2)
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-of", choices=["ours", "theirs"], help="take two steps and print the peak in GiB")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        network = networks(options.size)[options.memory_of]()
        optimizer = torch.optim.AdamW(network.parameters(), fused=True)
        for _ in range(2):
            step(network, optimizer, *inputs(options.clips)[options.memory_of], options.precisions[0])
        print(peak_resident_gib())
        return
    own = build_model(f"videomae_{options.size}_16x4_pretrain")
    print(f"multiply-adds of the encoder, relative to all tokens: {encoder_share(own):.3f}")
    print("| precision | step, CPU s | theirs / ours | memory, GiB | theirs |\n|---|---|---|---|---|")
    for precision in options.precisions:
        print(row(precision, options), flush=True)


def networks(size: str) -> dict[str, Callable[[], nn.Module]]:
    return {"ours": lambda: Ours(size), "theirs": lambda: Theirs(size)}


def inputs(clips: int) -> dict[str, tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    pixels = torch.randint(256, (clips, 16, 224, 224, 3), dtype=torch.uint8).movedim(-1, 1)
    hidden = torch.rand(clips, 196).argsort(1) < 176
    hidden = hidden.repeat(1, 8)
    return {"ours": (pixels, hidden), "theirs": ((pixels - 114.0) / 57, hidden)}


def step(network: nn.Module, optimizer: torch.optim.Optimizer, clips: Tensor, hidden: Tensor, precision: str) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = network(clips, hidden)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def row(precision: str, options: argparse.Namespace) -> str:
    made = {who: build() for who, build in networks(options.size).items()}
    optimizers = {who: torch.optim.AdamW(each.parameters(), fused=True) for who, each in made.items()}
    times: dict[str, list[Times]] = {who: [] for who in made}
    given = inputs(options.clips)
    for _ in range(options.rounds + 1):  # the first warms up
        for who, each in made.items():
            times[who].append(timed(lambda each=each, who=who: step(each, optimizers[who], *given[who], precision)))
    ours, theirs = (least(times[who], "cpu") for who in ("ours", "theirs"))
    memory = [peak_memory(who, precision, options) for who in ("ours", "theirs")]
    return f"| {precision} | {ours:.2f} | {theirs / ours:.2f} | {memory[0]:.2f} | {memory[1]:.2f} |"


def peak_memory(who: str, precision: str, options: argparse.Namespace) -> float:
    command = [
        sys.executable, "-m", "benchmarks.pretraining", "--memory-of", who, "--precisions", precision,
        "--size", options.size, "--clips", str(options.clips), "--threads", str(options.threads),
    ]  # fmt: skip
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def encoder_share(network: VideoMAEPretraining) -> float:
    """Multiply-adds of the encoder of visible tokens, relative to an encoder of all tokens."""
    counts = []
    shape = (1, 3, network.input.frames, network.input.size, network.input.size)
    seen = network.further_inputs(1)[0]
    for tokens in (seen, torch.arange(math.prod(network.grid)).expand(1, -1)):
        counts.append(complexity(Encoder(network, tokens), shape)[1])
    return counts[0] / counts[1]


class Encoder(nn.Module):
    def __init__(self, network: VideoMAEPretraining, tokens: Tensor) -> None:
        super().__init__()
        self.backbone, self.tokens = network.backbone, tokens

    def forward(self, clips: Tensor) -> Tensor:
        return self.backbone.encode_tokens(clips, self.tokens.to(clips.device))


if __name__ == "__main__":
    main()
