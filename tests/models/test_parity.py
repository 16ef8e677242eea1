"""The numbers that MMAction2 computes: scores, a training step, sizes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from kinema.models import Recognizer, complexity, load_foreign_state_dict
from kinema.models.foreign import foreign_names
from kinema.recipes import build_model
from tests.models import parity
from tests.models.reference_models import GFLOPS, RECIPES


@pytest.fixture(scope="module", params=["tsn_r50_1x1x3", "i3d_r50_32x2x1", "slowfast_r50_4x16x1"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def reference(shared: Path, name: str) -> Recognizer:
    """As users of its recipe come to it; without dropout, as the reference ran."""
    model = build_model(RECIPES[name])
    model.dropout.p = 0.0
    load_foreign_state_dict(model, parity.state_dict(parity.keys(shared, name).shapes), source="mmaction2")
    return model


def test_logits(shared: Path, name: str, reference: Recognizer) -> None:
    expected = parity.numbers(shared, name).logits
    with torch.inference_mode():
        found = reference.eval()(parity.clips(parity.keys(shared, name).input_shape))
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.usefixtures("two_threads")
def test_training_step(shared: Path, name: str, reference: Recognizer) -> None:
    """On as many threads as the reference: with sums in another order values near zero change their signs before ReLUs,
    and with them some batch norms' gradients by up to 4 %, as much as between float32 and float64.
    """
    expected = parity.numbers(shared, name)
    clips = parity.clips(parity.keys(shared, name).input_shape)
    loss = F.cross_entropy(reference.train()(clips), parity.labels(len(clips)))
    loss.backward()
    assert loss.item() == pytest.approx(expected.train_loss, rel=1e-5)

    names = foreign_names(reference, "mmaction2")
    norms = {names[key]: p.grad.double().norm().item() for key, p in reference.named_parameters() if p.grad is not None}
    assert norms == pytest.approx(expected.grad_norm, rel=1e-3)
    sums = {names[key]: value.double().sum().item() for key, value in reference.named_buffers() if "running" in key}
    assert sums == pytest.approx(expected.running_sum_after, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", GFLOPS)
def test_parameters_and_computations(shared: Path, name: str) -> None:
    keys = parity.keys(shared, name)
    frames = keys.input_shape[-3] if len(keys.input_shape) == 6 else keys.input_shape[1]
    with torch.device("meta"):
        model = build_model(RECIPES[name])
    parameters, macs = complexity(model, (1, 3, frames, 224, 224))
    assert parameters == keys.parameter_count
    assert round(2 * macs / 1e9, 1) == GFLOPS[name]
