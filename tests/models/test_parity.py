"""The numbers that other tools compute: scores, a training step, sizes."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from kinema.models import Recognizer
from kinema.models.complexity import complexity
from kinema.models.foreign import Source, foreign_names, load_foreign_state_dict
from kinema.recipes import build_model
from tests.models import parity
from tests.models.reference_models import GFLOPS, RECIPES

SOURCES: dict[str, Source] = {
    "tsn_r50_1x1x3": "mmaction2",
    "i3d_r50_32x2x1": "mmaction2",
    "slowfast_r50_4x16x1": "mmaction2",
    "x3d_s": "pytorchvideo",
    "x3d_s_pysf": "pyslowfast",
}


@pytest.fixture(scope="module", params=SOURCES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def reference(shared: Path, name: str) -> Recognizer:
    """As users of its recipe come to it; without dropout, as the reference ran."""
    model = build_model(RECIPES[name], {"model.shortcut_norm": True} if name == "x3d_s_pysf" else {})
    assert isinstance(model, Recognizer)
    model.dropout.p = 0.0
    load_foreign_state_dict(model, parity.state_dict(parity.keys(shared, name).shapes), source=SOURCES[name])
    return model


def test_logits(shared: Path, name: str, reference: Recognizer) -> None:
    expected = parity.numbers(shared, name).logits
    with torch.inference_mode():
        found = reference.eval()(parity.clips(parity.keys(shared, name).input_shape, SOURCES[name]))
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_training_step(shared: Path, name: str, reference: Recognizer) -> None:
    """Rounding moves activations near zero to the other side of a ReLU, and with them some gradient norms by per cents.

    How far is seen from `spread`, what the reference's recorded float32 numbers are off from the same network in
    float64, which rounds nothing away, and from `rounded`, what float32 on the machine at hand is off where the clips
    have been changed by rounding errors. It may be off as far for the clips themselves, in other parameters; 3 allows
    for the chance that is in a maximum.
    """
    expected = parity.numbers(shared, name)
    exact = training_step(deepcopy(reference).double(), shared, name)
    found = training_step(deepcopy(reference), shared, name)
    assert exact.train_loss == pytest.approx(expected.train_loss, rel=1e-5)
    assert found.train_loss == pytest.approx(expected.train_loss, rel=1e-5)
    assert exact.running_sum_after == pytest.approx(expected.running_sum_after, rel=1e-4, abs=1e-4)
    assert found.running_sum_after == pytest.approx(expected.running_sum_after, rel=1e-4, abs=1e-4)

    assert set(found.grad_norm) == set(exact.grad_norm) == set(expected.grad_norm)
    spread, own = (deviations(each.grad_norm, exact.grad_norm) for each in (expected, found))
    assert spread.median() < 2e-3  # most parameters see no such activation
    assert spread.max() < 0.05
    rounded = [
        deviations(training_step(deepcopy(reference), shared, name, noise=seed).grad_norm, exact.grad_norm)
        for seed in (1, 2, 3)
    ]
    assert own.square().mean().sqrt() < 3 * max(each.square().mean().sqrt() for each in (spread, *rounded))
    assert own.max() < 3 * max(each.max() for each in (spread, *rounded))


def training_step(model: Recognizer, shared: Path, name: str, noise: int = 0) -> parity.Numbers:
    """What the reference's numbers say of a step, under its parameters' names; `noise` seeds rounding errors."""
    clips = parity.clips(parity.keys(shared, name).input_shape, SOURCES[name]).to(model.head.weight.dtype)
    if noise:
        torch.manual_seed(noise)
        clips = clips * (1 + 2**-24 * torch.randn_like(clips))
    loss = F.cross_entropy(logits := model.train()(clips), parity.labels(len(clips)))
    loss.backward()
    names = foreign_names(model, SOURCES[name])
    return parity.Numbers(
        logits=logits.detach(),
        train_loss=loss.item(),
        grad_norm={
            names[key]: p.grad.double().norm().item() for key, p in model.named_parameters() if p.grad is not None
        },
        running_sum_after={
            names[key]: value.double().sum().item() for key, value in model.named_buffers() if "running" in key
        },
    )


def deviations(found: dict[str, float], exact: dict[str, float]) -> torch.Tensor:
    return torch.tensor([abs(found[key] / exact[key] - 1) for key in exact])


@pytest.mark.parametrize("name", GFLOPS)
def test_parameters_and_computations(shared: Path, name: str) -> None:
    keys = parity.keys(shared, name)
    frames = keys.input_shape[-3] if len(keys.input_shape) == 6 else keys.input_shape[1]
    with torch.device("meta"):
        model = build_model(RECIPES[name])
    parameters, macs = complexity(model, (1, 3, frames, 224, 224))
    assert parameters == keys.parameter_count
    assert round(2 * macs / 1e9, 1) == GFLOPS[name]
