"""TSN and TSM with image networks of torchvision: features and shifts beside torchvision's own modules, weights."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.feature_extraction import create_feature_extractor

from kinema.config import options_from
from kinema.errors import UserError
from kinema.models import load_pretrained
from kinema.models.foreign import load_foreign_state_dict
from kinema.models.tsm import TSMOptions
from kinema.models.tsn import TSNOptions
from kinema.weights.foreign_files import read_foreign_weights
from tests.models.plain_shift import PlainShift

FEATURES = {
    "resnet18": "flatten",
    "convnext_tiny": "classifier.1",
    "efficientnet_b0": "flatten",
    "mobilenet_v2": "flatten",
    "mobilenet_v3_small": "classifier.1",
    "regnet_y_400mf": "flatten",
    "swin_t": "flatten",
    "vit_b_32": "encoder.ln",
    "shufflenet_v2_x0_5": "mean",
    "densenet121": "flatten",
}
"""Network → node of its graph whose output the classifier takes."""

BRANCHES = {
    "resnet18": ("BasicBlock", "conv1"),
    "convnext_tiny": ("CNBlock", "block.0"),
    "efficientnet_b0": ("MBConv", "block.0.0"),
    "mobilenet_v2": ("InvertedResidual", "conv.0.0"),
    "mobilenet_v3_small": ("InvertedResidual", "block.0.0"),
    "regnet_y_400mf": ("ResBottleneckBlock", "f.a.0"),
}
"""Network → class of its residual blocks, and the convolution that their branch begins with."""

LARGE = ("swin_t", "vit_b_32", "shufflenet_v2_x0_5", "densenet121")


def build(kind: type[TSNOptions | TSMOptions], name: str, **values: Any) -> Any:
    torch.manual_seed(0)
    model = kind(backbone=f"torchvision:{name}", pretrained="none", num_classes=5, init_std=0.1, **values).build()
    for key, parameter in model.backbone.named_parameters():
        if "layer_scale" in key:  # which branches vanish by
            nn.init.normal_(parameter)
    return model


def pixels(name: str, clips: int = 1, frames: int = 2) -> Tensor:
    size = (224, 224) if name.startswith("vit") else (96, 64)
    return torch.randint(256, (clips, frames, *size, 3), dtype=torch.uint8).movedim(-1, 1)


def with_weights(name: str, classes: int = 7) -> Any:
    """A network of torchvision whose normalizations differ from the identity."""
    torch.manual_seed(1)
    network = get_model(name, num_classes=classes).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean, std=0.1)
    return network


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in FEATURES]
)
def test_features_and_scores_are_torchvisions(name: str) -> None:
    """Also of weights that are converted, with the classifier as head."""
    theirs = with_weights(name)
    options = TSNOptions(backbone=f"torchvision:{name}", pretrained="none").of_source(
        theirs.state_dict(), "torchvision"
    )
    assert options.num_classes == 7
    model = options.build().eval()
    load_foreign_state_dict(model, theirs.state_dict(), source="torchvision")
    clips = pixels(name)
    frames = clips[0].transpose(0, 1)
    mean, std = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    frames = (frames / 255 - mean) / std
    with torch.inference_mode():
        features = create_feature_extractor(theirs, {FEATURES[name]: "features"})(frames)["features"]
        features = features[:, 0] if name.startswith("vit") else features
        found = model.backbone(model.segments(clips)).flatten(1)
        torch.testing.assert_close(found, features, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.forward_features(clips)[0], features.mean(dim=0), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model(clips)[0], theirs(frames).mean(dim=0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BRANCHES)
def test_shifts_come_before_the_first_convolution_of_each_branch(name: str) -> None:
    model = build(TSMOptions, name, dropout=0.0)
    theirs: Any = get_model(name)
    for network in (model, theirs):
        for module in network.train().modules():  # with statistics of the batch, as features would vanish
            if hasattr(module, "p") and isinstance(module.p, float):
                module.p = 0.0
    kind, path = BRANCHES[name]
    theirs.load_state_dict(model.backbone.network.state_dict(), strict=False)
    blocks = [module for module in theirs.modules() if type(module).__name__ == kind]
    with_shortcut = [block for block in blocks if getattr(block, "use_res_connect", True)]
    assert len(with_shortcut) == len(model.backbone.shifted) > 0
    for block in with_shortcut:
        parent, _, leaf = path.rpartition(".")
        setattr(block.get_submodule(parent), leaf, nn.Sequential(PlainShift(), block.get_submodule(path)))
    features: list[Tensor] = []
    classifier = [module for module in theirs.modules() if isinstance(module, nn.Linear)][-1]
    classifier.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    clips = torch.randn(2, 3, 4, 64, 64)
    with torch.inference_mode():
        theirs(clips.transpose(1, 2).flatten(0, 1))
        expected = model.fc(features[0]).unflatten(0, (2, 4)).mean(dim=1)
        torch.testing.assert_close(model(clips), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(model(clips.flip(2)), expected, atol=1e-2)


@pytest.mark.parametrize("name", FEATURES)
def test_layer_groups_hold_every_parameter_once_in_the_order_of_depth(name: str) -> None:
    with torch.device("meta"):
        model = build(TSNOptions, name)
    groups = [[id(p) for layer in group for p in layer.parameters()] for group in model.layer_groups()]
    assert len(groups) > 4
    assert sorted(chain.from_iterable(groups)) == sorted(id(p) for p in model.parameters())
    group_of = {number: i for i, group in enumerate(groups) for number in group}
    called: list[int] = []
    for layer in model.modules():
        if own := [*layer.parameters(recurse=False)]:
            layer.register_forward_pre_hook(lambda _layer, *_, own=own: called.append(group_of[id(own[0])]))
    blocks: list[nn.Module] = []
    for block in model.blocks():
        block.register_forward_hook(lambda block, *_: blocks.append(block))
    with torch.no_grad():
        model.eval()(pixels(name).to("meta"))
    order = list(dict.fromkeys(called))
    assert order == sorted(order)
    assert set(blocks) == set(model.blocks())


def test_stages_are_torchvisions() -> None:
    """Stem, four stages, of which all but the first begin with a smaller resolution, the last norm, and the head."""
    with torch.device("meta"):
        groups = build(TSNOptions, "convnext_tiny").layer_groups()
    assert [[type(layer).__name__ for layer in group] for group in groups] == [
        ["Conv2dNormActivation"], ["Sequential"], *[["Sequential", "Sequential"]] * 3, ["Sequential"], ["Linear"],
    ]  # fmt: skip


def test_normalization_and_size_are_those_of_the_weights() -> None:
    with torch.device("meta"):
        assert build(TSNOptions, "efficientnet_v2_l").input.mean == (127.5, 127.5, 127.5)
        assert build(TSNOptions, "regnet_y_400mf").input.size is None
        model = build(TSNOptions, "vit_b_32")
    assert model.input.size == 224
    with pytest.raises(UserError, match=r"\(224, 224\) pixels, found \(96, 64\)"):
        model.backbone(torch.empty(1, 3, 96, 64, device="meta"))


@pytest.mark.parametrize("kind", [TSNOptions, TSMOptions])
def test_gradient_checkpointing_changes_nothing(kind: Any) -> None:
    clips, results = pixels("mobilenet_v3_small", clips=2), []
    for on in (False, True):
        model = build(kind, "mobilenet_v3_small", gradient_checkpointing=on, dropout=0.0).train()
        nn.functional.cross_entropy(model(clips), torch.tensor([0, 3])).backward()
        results.append(
            {key: parameter.grad for key, parameter in model.named_parameters()} | dict(model.named_buffers())
        )
    for key, value in results[0].items():
        assert value is not None, key
        assert torch.equal(results[1][key], value), key


def test_frozen_stages_freeze_the_first_groups() -> None:
    model = build(TSNOptions, "regnet_y_400mf", frozen_stages=1).train()
    trains = [{p.requires_grad for layer in group for p in layer.parameters()} for group in model.layer_groups()]
    assert trains == [{False}, {False}, {True}, {True}, {True}, {True}]


@pytest.mark.slow
def test_exports_compute_the_same() -> None:
    model, clips = build(TSMOptions, "mobilenet_v3_small").eval(), pixels("mobilenet_v3_small")
    with torch.no_grad():
        expected = model(clips)
        program = torch.export.export(build(TSMOptions, "mobilenet_v3_small").eval(), (clips,))
        torch.testing.assert_close(program.module()(clips), expected, rtol=1e-4, atol=1e-5)


def loaded(pretrained: str) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    options = TSNOptions(backbone="torchvision:mobilenet_v3_small", pretrained=pretrained, num_classes=5)
    model = options.build()
    head = model.fc.weight.clone()
    load_pretrained(model, options, read_foreign_weights)
    return model, head


def test_a_file_of_torchvisions_fills_the_backbone_alone(tmp_path: Path) -> None:
    weights = with_weights("mobilenet_v3_small").state_dict()
    save_file(weights, tmp_path / "weights.safetensors")
    model, head = loaded(str(tmp_path / "weights.safetensors"))
    own = model.backbone.network.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in own.items())
    assert len(weights) == len(own) + 2
    assert torch.equal(model.fc.weight, head)


def test_torchvision_downloads_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # where nothing answers
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UserError, match=r"cannot get ImageNet weights of mobilenet_v3_small from .*Put that file at"):
        loaded("torchvision")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"backbone": "torchvision:"}, ["backbone torchvision:", "torchvision:NAME"]),
        ({"backbone": "torchvision:resnet18"}, ["pretrained imagenet", "pass none, torchvision or a file"]),
        (
            {"backbone": "torchvision:resnet18", "pretrained": "timm"},
            ["pretrained timm", "none, torchvision or a file"],
        ),
        (
            {"backbone": "timm:resnet18", "pretrained": "torchvision"},
            ["pretrained torchvision", "none, timm or a file"],
        ),
    ],
)
def test_contradictory_options_are_named(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        options_from(TSNOptions, values, origin="test")
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (TSNOptions, "convnext_tinny", ["no such network", "did you mean 'convnext_tiny'"]),
        (TSNOptions, "vgg11", ["VGG cannot be backbones"]),
        (TSMOptions, "swin_t", ["known of torchvision's BasicBlock", "has SwinTransformerBlock", "train a TSN"]),
        (TSMOptions, "shufflenet_v2_x0_5", ["has InvertedResidual", "train a TSN"]),
    ],
)
def test_networks_that_do_not_fit_are_named(kind: Any, name: str, words: list[str]) -> None:
    with pytest.raises(UserError) as error, torch.device("meta"):
        build(kind, name)
    assert all(word in str(error.value) for word in words)
