"""How far Kinema's models are from the reference implementation's numbers: one row a model.

    python -m benchmarks.parity ../shared

Below the folder, `parity/` holds keys, shapes, scores, losses and gradients of MMAction2's models, as its README says.
Errors are the largest relative ones: of scores to the largest score of the batch, of everything else value by value.
Batch norm's statistics are the sums of each running mean and variance after one training step. A dash: the folder has
no such number for the model, of which only keys, shapes and the way there and back are checked. It runs on two threads,
as the reference did.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from tests.models import parity
from tests.models.reference_models import GFLOPS, RECIPES
from torch import nn

from kinema import build_model, load_foreign_state_dict
from kinema.models import Recognizer
from kinema.models.complexity import complexity
from kinema.models.foreign import foreign_names, foreign_state_dict
from kinema.recipes import config_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder with parity/")
    parser.add_argument("--models", nargs="+", choices=RECIPES, default=list(RECIPES), help="some of the models only")
    options = parser.parse_args()
    torch.set_num_threads(2)
    table = Table(
        "model", "scores", "loss", "gradients", "BN statistics", "parameters", "reference's", "GMACs", "ref.'s"
    )
    for name in options.models:
        table.add_row(name, *errors(options.folder, name), *sizes(options.folder, name))
    Console(width=140).print(table)


def errors(folder: Path, name: str) -> list[str]:
    """Largest relative errors of scores, loss, gradient norms and batch-norm statistics."""
    keys = parity.keys(folder, name)
    weights = parity.state_dict(keys.shapes)
    model = build_model(RECIPES[name])
    load_foreign_state_dict(model, weights, source="mmaction2")
    back = foreign_state_dict(model, source="mmaction2")
    assert all(torch.equal(back[key], weight) for key, weight in weights.items())
    if not parity.has_numbers(folder, name):
        return ["–"] * 4
    expected, clips = parity.numbers(folder, name), parity.clips(keys.input_shape)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.inference_mode():
        logits = model.eval()(clips)
    loss, norms, sums = training_step(model, clips)
    return [
        f"{(logits - expected.logits).abs().max() / expected.logits.abs().max():.1e}",
        f"{abs(loss - expected.train_loss) / expected.train_loss:.1e}",
        f"{largest_error(norms, expected.grad_norm):.1e}",
        f"{largest_error(sums, expected.running_sum_after, least=1.0):.1e}",
    ]


def training_step(model: Recognizer, clips: torch.Tensor) -> tuple[float, dict[str, float], dict[str, float]]:
    """Loss, and by the reference's names every parameter's gradient norm and every running statistic's sum."""
    loss = F.cross_entropy(model.train()(clips), parity.labels(len(clips)))
    loss.backward()
    names = foreign_names(model, "mmaction2")
    norms = {names[key]: p.grad.double().norm().item() for key, p in model.named_parameters() if p.grad is not None}
    sums = {names[key]: value.double().sum().item() for key, value in model.named_buffers() if "running" in key}
    return loss.item(), norms, sums


def largest_error(found: dict[str, float], expected: dict[str, float], *, least: float = 0.0) -> float:
    """Relative to each value, or to `least` where it is smaller: sums of means may come near zero."""
    assert found.keys() == expected.keys()
    return max(abs(found[key] - value) / max(abs(value), least) for key, value in expected.items())


def sizes(folder: Path, name: str) -> list[str]:
    """Parameters in millions and GMACs of one clip of 224×224, here and there."""
    config = config_of(RECIPES[name])
    with torch.device("meta"):
        frames = config.data.train_clip.sampling.frames
        parameters, macs = complexity(build_model(RECIPES[name]), (1, 3, frames, 224, 224))
    expected = parity.keys(folder, name).parameter_count
    return [f"{parameters:,}", f"{expected:,}", f"{macs / 1e9:.2f}", f"{GFLOPS[name] / 2:.2f}"]


if __name__ == "__main__":
    main()
