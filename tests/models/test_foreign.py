"""MMAction2's weights in Kinema's models, and the numbers that MMAction2 computes with them."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from kinema.errors import UserError
from kinema.models import TSM, TSN, load_foreign_state_dict, tsm, tsn
from kinema.models.foreign import mmaction2_names
from tests.models import parity

MODELS = {"tsn_r50_1x1x3": tsn, "tsm_r50_1x1x8": tsm}


@pytest.fixture(scope="module")
def reference_tsn(shared: Path) -> TSN:
    model = tsn(dropout=0.0)
    weights = parity.state_dict(parity.keys(shared, "tsn_r50_1x1x3").shapes)
    load_foreign_state_dict(model, weights, source="mmaction2")
    return model


@pytest.mark.parametrize("name", MODELS)
def test_every_key_of_the_reference_has_its_place(shared: Path, name: str) -> None:
    keys = parity.keys(shared, name)
    with torch.device("meta"):
        model = MODELS[name]()
    names = mmaction2_names(model)
    assert {names[key]: list(value.shape) for key, value in model.state_dict().items()} == keys.shapes
    assert {names[key] for key, _ in model.named_parameters()} == set(keys.parameters)


def test_tsn_computes_the_references_logits(shared: Path, reference_tsn: TSN) -> None:
    clips = parity.clips(parity.keys(shared, "tsn_r50_1x1x3").input_shape)
    expected = parity.numbers(shared, "tsn_r50_1x1x3").logits
    with torch.inference_mode():
        found = reference_tsn.eval()(clips)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_tsn_takes_the_references_training_step(shared: Path, reference_tsn: TSN) -> None:
    expected = parity.numbers(shared, "tsn_r50_1x1x3")
    clips = parity.clips(parity.keys(shared, "tsn_r50_1x1x3").input_shape)
    loss = F.cross_entropy(reference_tsn.train()(clips), parity.labels(len(clips)))
    loss.backward()
    assert loss.item() == pytest.approx(expected.train_loss, rel=1e-5)

    names = mmaction2_names(reference_tsn)
    norms = {
        names[key]: p.grad.double().norm().item() for key, p in reference_tsn.named_parameters() if p.grad is not None
    }
    assert norms == pytest.approx(expected.grad_norm, rel=1e-3)
    sums = {names[key]: value.double().sum().item() for key, value in reference_tsn.named_buffers() if "running" in key}
    assert sums == pytest.approx(expected.running_sum_after, rel=1e-4, abs=1e-4)


def foreign_weights(model: TSN | TSM) -> dict[str, torch.Tensor]:
    """The model's own weights under MMAction2's names."""
    names = mmaction2_names(model)
    return {names[key]: value for key, value in model.state_dict().items()}


@pytest.mark.parametrize("builder", [tsn, tsm])
@pytest.mark.parametrize("depth", [18, 50])
def test_weights_come_back_under_their_own_names(builder: type, depth: int) -> None:
    source, target = (builder(depth=depth, width=8, num_classes=3) for _ in range(2))
    load_foreign_state_dict(target, foreign_weights(source), source="mmaction2")
    assert all(torch.equal(value, target.state_dict()[key]) for key, value in source.state_dict().items())


@pytest.mark.parametrize(
    ("classes", "removed", "added", "fault"),
    [
        (3, ["backbone.conv1.bn.bias"], [], "1 missing (backbone.conv1.bn.bias)"),
        (3, [], ["backbone.layer9.weight"], "1 unknown (backbone.layer9.weight)"),
        (4, ["cls_head.fc_cls.bias"], [], "1 missing (cls_head.fc_cls.bias); 1 of another shape "),
        (4, [], [], "(cls_head.fc_cls.weight [4, 64] instead of [3, 64], cls_head.fc_cls.bias [4] instead of [3])"),
        (3, [], list("abcd"), "4 unknown (a, b, c, …)"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused(
    classes: int, removed: list[str], added: list[str], fault: str
) -> None:
    model = tsn(depth=18, width=8, num_classes=3)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    weights = foreign_weights(tsn(depth=18, width=8, num_classes=classes))
    weights = {key: value for key, value in weights.items() if key not in removed}
    weights |= {key: torch.zeros(1) for key in added}
    with pytest.raises(UserError) as error:
        load_foreign_state_dict(model, weights, source="mmaction2")
    assert fault in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_weights_trained_with_shifts_do_not_fit_a_network_without() -> None:
    weights = foreign_weights(tsm(depth=50, width=8))
    with pytest.raises(UserError, match=r"16 missing \(backbone\.layer1\.0\.conv1\.conv\.weight, .*, …\); 16 unknown"):
        load_foreign_state_dict(tsn(depth=50, width=8), weights, source="mmaction2")
