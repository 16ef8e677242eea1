"""BSN's and BMN's networks against MMAction2's numbers: keys, outputs, a training step."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kinema.errors import UserError
from kinema.models.bmn import BMN, BMNOptions, Formulation
from kinema.models.bsn import PEMOptions, TEMOptions
from kinema.models.foreign import foreign_misfits, foreign_names, foreign_state_dict, load_foreign_state_dict
from kinema.models.localizer import Localizer, LocalizerOptions
from kinema.tasks.localization.bmn import BMNLossOptions, bmn_labels, bmn_loss
from kinema.tasks.localization.bsn.tem import TEMLossOptions, tem_labels, tem_loss
from tests.models import parity

OPTIONS = {"bmn_400x100": BMNOptions, "bsn_tem_400x100": TEMOptions, "bsn_pem_400x100": PEMOptions}
CONSTANTS = {"sample_mask", "bm_mask"}


def weights_of(shared: Path, name: str) -> dict[str, Tensor]:
    """Without the constants, which this model has no room for."""
    shapes = parity.keys(shared, name).shapes
    return parity.state_dict({key: shape for key, shape in shapes.items() if key not in CONSTANTS})


def numbers_of(shared: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    folder = shared / "parity" / "numbers"
    return load_file(folder / f"{name}.safetensors"), json.loads((folder / f"{name}.json").read_text())


def features(shape: list[int]) -> Tensor:
    return torch.from_numpy(np.random.RandomState(0).standard_normal(shape).astype(np.float32))


def grad_norms(model: Localizer) -> dict[str, float]:
    names = foreign_names(model, "mmaction2")
    return {names[key]: p.grad.double().norm().item() for key, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", OPTIONS)
def test_keys(shared: Path, name: str) -> None:
    model = OPTIONS[name]().build()
    expected = parity.keys(shared, name)
    found = {key: list(value.shape) for key, value in foreign_state_dict(model, source="mmaction2").items()}
    assert found == {key: shape for key, shape in expected.shapes.items() if key not in CONSTANTS}
    assert [*foreign_names(model, "mmaction2").values()] == [key for key in expected.parameters if key not in CONSTANTS]


def bmn_of(shared: Path, formulation: Formulation) -> BMN:
    model = BMNOptions(formulation=formulation).build()
    load_foreign_state_dict(model, weights_of(shared, "bmn_400x100"), source="mmaction2")
    return model


def test_bmn(shared: Path) -> None:
    expected, step = numbers_of(shared, "bmn_400x100")
    model = bmn_of(shared, "sparse")
    with torch.inference_mode():
        output = model.eval()(features(step["input_shape"]))
    exists = np.add.outer(np.arange(100), np.arange(100)) < 100
    confidence = expected["eval.confidence_map"] * torch.from_numpy(exists)
    pairs = (
        (output.confidence, confidence),
        (output.start, expected["eval.start"]),
        (output.end, expected["eval.end"]),
    )
    for found, wanted in pairs:
        assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()

    labels = bmn_labels([np.array(each) for each in step["gt_bbox"]])
    output = model.train()(features(step["input_shape"]))
    torch.manual_seed(0)
    losses = bmn_loss(output, labels, BMNLossOptions())
    losses.total.backward()
    assert losses.total.item() == pytest.approx(step["train_loss"], rel=1e-5)
    assert grad_norms(model) == pytest.approx(step["grad_norm"], rel=1e-3)


def test_tem(shared: Path) -> None:
    expected, step = numbers_of(shared, "bsn_tem_400x100")
    model = TEMOptions().build()
    load_foreign_state_dict(model, weights_of(shared, "bsn_tem_400x100"), source="mmaction2")
    output = model(features(step["input_shape"]))
    assert (torch.stack([*output], dim=1) - expected["eval"]).abs().max() < 1e-6

    losses = tem_loss(output, tem_labels([np.array(each) for each in step["gt_bbox"]]), TEMLossOptions())
    losses.total.backward()
    parts = {"loss_action": losses.action.item(), "loss_start": losses.start.item(), "loss_end": losses.end.item()}
    assert parts == pytest.approx(step["train_losses"], rel=1e-5)
    assert losses.total.item() == pytest.approx(step["train_loss"], rel=1e-5)
    assert grad_norms(model) == pytest.approx(step["grad_norm"], rel=1e-3)


def test_pem_has_the_papers_layers(shared: Path) -> None:
    model = PEMOptions().build()
    weights = weights_of(shared, "bsn_pem_400x100")
    load_foreign_state_dict(model, weights, source="mmaction2")
    proposals = features(parity.keys(shared, "bsn_pem_400x100").input_shape)
    hidden = (0.1 * (proposals.double() @ weights["fc1.weight"].double().T + weights["fc1.bias"])).clamp(min=0)
    logits = 0.1 * (hidden @ weights["fc2.weight"].double().T + weights["fc2.bias"])
    torch.testing.assert_close(model(proposals).double(), 1 / (1 + torch.exp(-logits[:, 0])), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    "options", [BMNOptions(parts=8, samples=4, hidden_1d=8, hidden_2d=4), TEMOptions(), PEMOptions()]
)
def test_weights_go_there_and_back(options: LocalizerOptions) -> None:
    given, taker = options.build(), options.build()
    load_foreign_state_dict(taker, foreign_state_dict(given, source="mmaction2"), source="mmaction2")
    for key, value in given.state_dict().items():
        torch.testing.assert_close(taker.state_dict()[key], value, rtol=0, atol=0)


def test_constants_of_other_parts_do_not_fit() -> None:
    model = BMNOptions(parts=8, samples=4, hidden_1d=8, hidden_2d=4, hidden_3d=8).build()
    weights = foreign_state_dict(model, source="mmaction2")
    constants = {"sample_mask": torch.zeros(8, 4 * 64), "bm_mask": torch.zeros(8, 8)}
    assert not foreign_misfits(model, weights | constants, source="mmaction2")
    load_foreign_state_dict(model, weights | constants, source="mmaction2")
    with pytest.raises(UserError, match=r"1 of another shape \(bm_mask \[9, 9\] instead of \[8, 8\]\)"):
        load_foreign_state_dict(model, weights | {"bm_mask": torch.zeros(9, 9)}, source="mmaction2")
    with pytest.raises(UserError, match=r"2 unknown \(bm_mask, sample_mask\)"):
        load_foreign_state_dict(
            PEMOptions().build(),
            foreign_state_dict(PEMOptions().build(), source="mmaction2") | constants,
            source="mmaction2",
        )


def test_other_sources_have_no_localizers() -> None:
    with pytest.raises(UserError, match="pyslowfast has no TEM"):
        load_foreign_state_dict(TEMOptions().build(), {}, source="pyslowfast")


def test_another_localizers_weights_do_not_fit() -> None:
    with pytest.raises(UserError, match="the mmaction2 state dict does not fit this PEM: 4 missing"):
        load_foreign_state_dict(
            PEMOptions().build(), foreign_state_dict(TEMOptions().build(), source="mmaction2"), source="mmaction2"
        )
