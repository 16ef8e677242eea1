"""A family of one's own, in one file outside of Kinema, is compiled, sharded, fine-tuned, trained and converted."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kinema import load
from kinema.cli import main
from kinema.models import Recognizer, name_of, options_class
from kinema.models.foreign import foreign_state_dict, load_foreign_state_dict
from kinema.runtime.device import RuntimeOptions, compile_blocks
from kinema.training import SGD
from kinema.training.optimization.optimizer import parameter_groups
from tests.conftest import tiny_arguments

FILE = Path(__file__).with_name("own_family.py")
ADDRESS = f"{FILE}:PlainOptions"


def network(**values: Any) -> Recognizer:
    torch.manual_seed(0)
    model = options_class(ADDRESS)(num_classes=5, init_std=0.1, **values).build()
    assert isinstance(model, Recognizer)
    return model


def clips() -> torch.Tensor:
    return torch.randint(256, (2, 3, 4, 32, 32), dtype=torch.uint8)


def test_it_is_named_by_its_address() -> None:
    assert name_of(options_class(ADDRESS)()) == ADDRESS


def test_its_stages_are_compiled_and_its_blocks_where_they_are_checkpointed(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: compiled.append(module))
    plain, checkpointed = network(), network(gradient_checkpointing=True)
    for model in (plain, checkpointed):
        compile_blocks(model, RuntimeOptions(compile=True))
    assert compiled == [*plain.backbone.stages, *checkpointed.blocks()]
    assert len(checkpointed.blocks()) == 4


def test_its_layers_have_rates_by_depth_and_can_be_frozen() -> None:
    model = network(frozen_stages=1)
    groups = parameter_groups(model, SGD(lr=1.0, layer_decay=0.5), 1.0)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}  # type: ignore[attr-defined]
    assert {rates[id(p)] for p in model.backbone.stages[1].parameters()} == {0.5}
    assert {rates[id(p)] for p in model.head.parameters()} == {1.0}
    assert len(rates) == 2 * 4 + 2


def test_it_is_exported() -> None:
    model, x = network().eval(), clips()
    with torch.no_grad():
        torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))


def test_its_foreign_weights_are_loaded() -> None:
    given, taker = network(), network(width=8)
    weights = {key: value + 1 for key, value in foreign_state_dict(given, source="pyslowfast").items()}
    assert {"trunk.stem.weight", "trunk.2.1.0.weight", "top.bias"} <= set(weights)
    load_foreign_state_dict(taker, weights, source="pyslowfast")
    assert torch.equal(taker.state_dict()["backbone.stem.weight"], given.state_dict()["backbone.stem.weight"] + 1)


def test_it_trains_is_tested_and_predicts(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = tiny_arguments(sample, optim__layer_decay="0.5", model__frozen_stages="0")
    arguments = [argument for argument in arguments if "shift_div" not in argument and "depth" not in argument]
    assert main(["train", f"{FILE}:plain_sample", "--work-dir", str(tmp_path), *arguments]) == 0
    described = json.loads((tmp_path / "checkpoints" / "last" / "model.json").read_text())
    assert described["architecture"] == ADDRESS
    capsys.readouterr()
    assert main(["test", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["videos"] == 16
    assert load(tmp_path) is not None
