"""Other tools' weights in Kinema's models: every key has its place, and back."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torchvision

from kinema.errors import UserError
from kinema.models import RecognizerOptions
from kinema.models.foreign import Source, foreign_names, foreign_state_dict, load_foreign_state_dict
from kinema.models.i3d import I3DOptions
from kinema.models.r2plus1d import R2Plus1DOptions
from kinema.models.slowfast import SlowFastOptions
from kinema.models.slowonly import SlowOnlyOptions
from kinema.models.tsm import TSMOptions
from kinema.models.tsn import TSNOptions
from tests.models import parity
from tests.models.reference_models import REFERENCE_MODELS

Kind = type[RecognizerOptions]

PYSLOWFAST: dict[str, tuple[Kind, dict[str, Any]]] = {
    "I3D_8x8_R50": (I3DOptions, {"conv1_stride_t": 1, "pool1_stride_t": 1}),
    "I3D_NLN_8x8_R50": (I3DOptions, {"non_local": "embedded_gaussian", "non_local_form": "pyslowfast"}),
    "SLOW_4x16_R50": (SlowOnlyOptions, {}),
    "SLOWFAST_4x16_R50": (SlowFastOptions, {"lateral_norm": True}),
}


@pytest.mark.parametrize("name", REFERENCE_MODELS)
def test_every_key_of_mmaction2_has_its_place(shared: Path, name: str) -> None:
    keys = parity.keys(shared, name)
    with torch.device("meta"):
        model = REFERENCE_MODELS[name]().build()
    names = foreign_names(model, "mmaction2")
    assert {names[key]: list(value.shape) for key, value in model.state_dict().items()} == keys.shapes
    assert {names[key] for key, _ in model.named_parameters()} == set(keys.parameters)


def pyslowfast_keys(config: str) -> Iterator[str]:
    """The state dict's keys of PySlowFast's models of depth 50, without batch norm's buffers."""
    pathways = (0, 1) if config.startswith("SLOWFAST") else (0,)
    non_local = {3: (1, 3), 4: (1, 3, 5)} if "NLN" in config else {}

    def norm(name: str) -> list[str]:
        return [f"{name}.weight", f"{name}.bias"]

    for pathway in pathways:
        yield from (f"s1.pathway{pathway}_stem.conv.weight", *norm(f"s1.pathway{pathway}_stem.bn"))
        for stage, blocks in ((2, 3), (3, 4), (4, 6), (5, 3)):
            for block in range(blocks):
                prefix = f"s{stage}.pathway{pathway}_res{block}"
                for layer in "abc":
                    yield from (f"{prefix}.branch2.{layer}.weight", *norm(f"{prefix}.branch2.{layer}_bn"))
                if block == 0:
                    yield from (f"{prefix}.branch1.weight", *norm(f"{prefix}.branch1_bn"))
                if block in non_local.get(stage, ()):
                    attention = f"s{stage}.pathway{pathway}_nonlocal{block}"
                    for part in ("conv_theta", "conv_phi", "conv_g", "conv_out", "bn"):
                        yield from norm(f"{attention}.{part}")
    for stage in (1, 2, 3, 4) if len(pathways) == 2 else ():
        yield from (f"s{stage}_fuse.conv_f2s.weight", *norm(f"s{stage}_fuse.bn"))
    yield from norm("head.projection")


@pytest.mark.parametrize("config", PYSLOWFAST)
def test_every_key_of_pyslowfast_has_its_place(config: str) -> None:
    kind, options = PYSLOWFAST[config]
    with torch.device("meta"):
        model = kind(**options).build()
    names = foreign_names(model, "pyslowfast")
    assert sorted(names[key] for key, _ in model.named_parameters()) == sorted(pyslowfast_keys(config))


def test_pyslowfasts_slowfast_head_reads_the_slow_pathway_first() -> None:
    model = SlowFastOptions(width=8, depth=18, num_classes=3, lateral_norm=True).build()
    slow, fast = 64 * torch.ones(3, 64), 8 * torch.ones(3, 8)
    weights = foreign_state_dict(model, source="pyslowfast")
    weights["head.projection.weight"] = torch.cat((slow, fast), dim=1)
    load_foreign_state_dict(model, weights, source="pyslowfast")
    assert torch.equal(model.fc.weight, torch.cat((fast, slow), dim=1))
    back = foreign_state_dict(model, source="pyslowfast")["head.projection.weight"]
    assert torch.equal(back, weights["head.projection.weight"])


@pytest.mark.parametrize("kind", [TSNOptions, TSMOptions])
def test_every_key_of_the_tsm_repository_has_its_place(kind: Kind) -> None:
    with torch.device("meta"):
        names = foreign_names(kind().build(), "tsm")
        resnet = [key for key in torchvision.models.resnet50().state_dict() if not key.startswith("fc.")]
    if kind is TSMOptions:
        resnet = [re.sub(r"(layer\d\.\d\.conv1)", r"\1.net", key) for key in resnet]
    assert sorted(names.values()) == sorted([*(f"base_model.{key}" for key in resnet), "new_fc.weight", "new_fc.bias"])


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("resnet50", TSNOptions, {}),
        ("resnet18", TSNOptions, {"depth": 18}),
        ("r2plus1d_18", R2Plus1DOptions, {"depth": 18, "form": "torchvision"}),
        ("r3d_18", R2Plus1DOptions, {"depth": 18, "form": "torchvision", "convolutions": "3d"}),
        ("mc3_18", R2Plus1DOptions, {"depth": 18, "form": "torchvision", "convolutions": "mixed"}),
    ],
)
def test_every_key_of_torchvision_has_its_place(name: str, kind: Kind, options: dict[str, Any]) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name, num_classes=7)
        ours = kind(num_classes=7, **options).build()
    shapes = {key: value.shape for key, value in foreign_state_dict(ours, source="torchvision").items()}
    assert shapes == {key: value.shape for key, value in theirs.state_dict().items()}


every_model = pytest.mark.parametrize(
    ("kind", "options"),
    [
        (TSNOptions, {}),
        (TSMOptions, {}),
        (I3DOptions, {}),
        (I3DOptions, {"non_local": "dot_product"}),
        (SlowOnlyOptions, {}),
        (SlowFastOptions, {"lateral_norm": True}),
        (R2Plus1DOptions, {}),
        (R2Plus1DOptions, {"form": "torchvision"}),
    ],
)


@pytest.mark.parametrize("source", get_args(Source))
@pytest.mark.parametrize("depth", [18, 50])
@every_model
def test_no_two_keys_have_the_same_place(kind: Kind, options: dict[str, Any], depth: int, source: Source) -> None:
    with torch.device("meta"):
        model = kind(depth=depth, **options).build()
    if foreign := model.foreign(source):
        assert list(foreign.names) == list(model.state_dict())
        assert len(set(foreign.names.values())) == len(foreign.names)
    else:
        with pytest.raises(
            UserError, match=rf"{source} has no {type(model).__name__}; it can have those of .*mmaction2"
        ):
            foreign_names(model, source)


@pytest.mark.parametrize("source", ["mmaction2", "pyslowfast"])
@every_model
def test_weights_come_back_under_their_own_names(kind: Kind, options: dict[str, Any], source: Source) -> None:
    given, taker = (kind(depth=18, width=8, num_classes=3, **options).build() for _ in range(2))
    if given.foreign(source) is None:
        pytest.skip(f"{source} has no such network")
    load_foreign_state_dict(taker, foreign_state_dict(given, source=source), source=source)
    assert all(torch.equal(value, taker.state_dict()[key]) for key, value in given.state_dict().items())


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
    model = TSNOptions(depth=18, width=8, num_classes=3).build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    weights = foreign_state_dict(TSNOptions(depth=18, width=8, num_classes=classes).build(), source="mmaction2")
    weights = {key: value for key, value in weights.items() if key not in removed}
    weights |= {key: torch.zeros(1) for key in added}
    with pytest.raises(UserError) as error:
        load_foreign_state_dict(model, weights, source="mmaction2")
    assert fault in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_batch_counters_may_be_missing() -> None:
    given, taker = (SlowOnlyOptions(depth=18, width=8).build() for _ in range(2))
    weights = foreign_state_dict(given, source="mmaction2")
    weights = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    load_foreign_state_dict(taker, weights, source="mmaction2")
    assert all(torch.equal(value, taker.state_dict()[key]) for key, value in given.state_dict().items())


def test_weights_trained_with_shifts_do_not_fit_a_network_without() -> None:
    weights = foreign_state_dict(TSMOptions(depth=50, width=8).build(), source="mmaction2")
    with pytest.raises(UserError, match=r"16 missing \(backbone\.layer1\.0\.conv1\.conv\.weight, .*, …\); 16 unknown"):
        load_foreign_state_dict(TSNOptions(depth=50, width=8).build(), weights, source="mmaction2")


def test_weights_of_both_kinds_of_lateral_connections_do_not_fit_each_other() -> None:
    bare, normed = (SlowFastOptions(depth=18, width=8, lateral_norm=norm).build() for norm in (False, True))
    for given, taker in pairwise((bare, normed, bare)):
        with pytest.raises(UserError, match=r"\d+ (missing|unknown) \(backbone\.slow_path\.conv1_lateral\.bn\."):
            load_foreign_state_dict(taker, foreign_state_dict(given, source="mmaction2"), source="mmaction2")
