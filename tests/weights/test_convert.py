"""Other tools' checkpoints made into models, and back: their files are built here as the tools write them."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor
from torchvision.models.video import mvit_v2_s

from kinema.errors import UserError
from kinema.models import RecognizerOptions
from kinema.models.foreign import Source, foreign_state_dict
from kinema.models.i3d import I3DOptions
from kinema.models.r2plus1d import R2Plus1DOptions
from kinema.models.slowfast import SlowFastOptions
from kinema.models.slowonly import SlowOnlyOptions
from kinema.models.timesformer import TimeSformerOptions
from kinema.models.tsm import TSMOptions
from kinema.models.tsn import TSNOptions
from kinema.models.videomae import VideoMAEOptions
from kinema.recipes import config_of
from kinema.tasks.models import load_model
from kinema.weights.convert import convert, convert_to_mmaction2
from kinema.weights.model_files import save_model
from tests.models import parity, reference_models
from tests.weights.foreign_checkpoints import TINY, candidates, filled, tiny


def convert_back(model: Path, file: Path) -> None:
    module, described = load_model(model)
    convert_to_mmaction2(module, described.model, file)


def test_keys_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    weights = filled(TINY)
    del weights["backbone.layer1.0.conv1.bn.bias"], weights["cls_head.fc_cls.bias"]
    weights["backbone.extra.weight"] = torch.zeros(5, 2)
    weights["backbone.conv1.conv.weight"] = torch.zeros(8, 3, 3, 3)
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(UserError) as error:
        convert(tmp_path / "a.pth", tmp_path / "out", tiny(TINY), source="mmaction2")
    title, *rows = str(error.value).splitlines()
    assert "a.pth and the model of tiny do not fit each other in 4 keys" in title
    assert "--allow-missing PATTERN" in title
    assert [re.split(r" {2,}", row.strip()) for row in rows] == [
        ["missing", "backbone.layer1.0.conv1.bn.bias", "[8]"],
        ["missing", "cls_head.fc_cls.bias", "[3]"],
        ["unknown", "backbone.extra.weight", "[5, 2]"],
        ["of another shape", "backbone.conv1.conv.weight", "[8, 3, 3, 3] instead of [8, 3, 7, 7]"],
    ]
    assert not (tmp_path / "out").exists()


def test_long_tables_end_with_a_count(tmp_path: Path) -> None:
    weights = filled(TINY) | {f"extra.{i}": torch.zeros(1) for i in range(50)}
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"unknown +… and 30 more$"):
        convert(tmp_path / "a.pth", tmp_path / "out", tiny(TINY), source="mmaction2")


def test_patterns_say_what_may_be_missing(tmp_path: Path) -> None:
    weights = filled(TINY)
    bias = weights.pop("backbone.layer1.0.conv1.bn.bias")
    weights["teacher.weight"] = torch.zeros(5)
    torch.save(weights, tmp_path / "a.pth")
    for patterns in (("teacher.*",), ("*.bn.bias",)):
        with pytest.raises(UserError, match="in 1 keys"):
            convert(tmp_path / "a.pth", tmp_path / "out", tiny(TINY), source="mmaction2", allow_missing=patterns)
    patterns = ("teacher.*", "*.bn.bias")
    convert(tmp_path / "a.pth", tmp_path / "out", tiny(TINY), source="mmaction2", allow_missing=patterns)
    found = foreign_state_dict(load_model(tmp_path / "out")[0], source="mmaction2")
    assert all(torch.equal(found[key], value) for key, value in weights.items() if key != "teacher.weight")
    assert found["backbone.layer1.0.conv1.bn.bias"].eq(0).all()  # as initialised
    assert not bias.eq(0).any()


def test_names_of_another_tool_are_told(tmp_path: Path) -> None:
    torch.save(filled(TINY), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"no names of tsm's; .* of mmaction2 \(backbone\..*--from mmaction2"):
        convert(tmp_path / "a.pth", tmp_path / "out", tiny(TINY), source="tsm")


@pytest.mark.parametrize("source", ["mmaction2", "tsm", "vjepa2", "videomae"])
def test_a_multiscale_transformer_is_told_from_others(tmp_path: Path, source: Source) -> None:
    torch.save(mvit_v2_s().state_dict(), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"they look like those of torchvision \(.*: --from torchvision"):
        convert(tmp_path / "a.pth", tmp_path / "out", candidates(*NETWORKS_OF_TOKENS), source=source)


NETWORKS_OF_TOKENS = ("videomae_b_16x4_kinetics400", "vjepa2_l_16x4_sthv2", "mvitv2_s_16x4_kinetics400")
TOKENS: Any = {"frames": 8, "size": 32, "patch": 8, "width": 24, "depth": 2, "heads": 3, "num_classes": 3}


@pytest.mark.parametrize(
    ("options", "source", "wrapper", "prefix"),
    [
        (TINY, "mmaction2", "state_dict", ""),
        (replace(TINY, num_classes=7), "mmaction2", "state_dict", "module."),
        (SlowOnlyOptions(depth=18, width=8, num_classes=3), "pyslowfast", "model_state", ""),
        (SlowFastOptions(depth=18, width=8, num_classes=3, lateral_norm=True), "pyslowfast", "model_state", ""),
        (TSMOptions(depth=18, width=8, num_classes=3), "tsm", "state_dict", "module."),
        (R2Plus1DOptions(depth=18, width=8, num_classes=3, form="torchvision"), "torchvision", "model", ""),
        (VideoMAEOptions(**TOKENS, norm_eps=1e-12, head_norm_eps=1e-5), "transformers", "state_dict", ""),
        (VideoMAEOptions(**TOKENS), "videomae", "module", ""),
        (TimeSformerOptions(**TOKENS), "transformers", "state_dict", ""),
        (TimeSformerOptions(**TOKENS), "timesformer", "model_state", "model."),
    ],
)
def test_converted_models_compute_the_same(
    tmp_path: Path, options: RecognizerOptions, source: Any, wrapper: str, prefix: str
) -> None:
    torch.manual_seed(0)
    given = options.build().eval()
    weights = {prefix + key: value for key, value in foreign_state_dict(given, source=source).items()}
    torch.save({wrapper: weights, "epoch": 5}, tmp_path / "a.pth")
    recipe = replace(
        options,
        num_classes=3,
        **({"norm_eps": 1e-6} if isinstance(options, VideoMAEOptions) else {}),
        **({"lateral_norm": False} if source == "pyslowfast" and isinstance(options, SlowFastOptions) else {}),
    )
    convert(tmp_path / "a.pth", tmp_path / "out", tiny(recipe), source=source)
    taker, described = load_model(tmp_path / "out")
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.inference_mode():
        assert torch.equal(taker(clips), given(clips))
    assert described.recipe == config_of("tsm_r18_video_1x1x8_small_rgb").recipe
    assert len(described.classes) == options.num_classes
    means = {"pyslowfast": (114.75,) * 3, "torchvision": (110.2008, 100.63983, 95.99475)}  # of its video networks
    assert described.model.mean == pytest.approx(means.get(source, options.mean))


def test_the_tsm_repositorys_names(tmp_path: Path) -> None:
    """As its code makes them: torchvision's network wrapped as base_model, the shifted convolutions as net."""
    torch.manual_seed(0)
    resnet = torchvision.models.resnet18().state_dict()
    weights = {re.sub(r"(layer\d\.\d\.conv1)", r"\1.net", key): value for key, value in resnet.items()}
    weights = {f"module.base_model.{key}": value for key, value in weights.items() if not key.startswith("fc.")}
    weights |= {"module.new_fc.weight": torch.randn(4, 512), "module.new_fc.bias": torch.randn(4)}
    path = tmp_path / "ckpt.best.pth.tar"
    torch.save({"epoch": 50, "arch": "resnet18", "state_dict": weights, "best_prec1": torch.tensor(70.1)}, path)
    convert(path, tmp_path / "out", tiny(TSMOptions(depth=18)), source="tsm")
    model, described = load_model(tmp_path / "out")
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, resnet[key]), key
    assert torch.equal(model.fc.weight, weights["module.new_fc.weight"])
    assert described.classes == ("0", "1", "2", "3")


def test_the_tsm_repositorys_flow_is_refused(tmp_path: Path) -> None:
    options = TSMOptions(depth=18, width=8, flow_fields=5)
    torch.save(foreign_state_dict(options.build(), source="tsm"), tmp_path / "a.pth")
    with pytest.raises(UserError, match="normalizes optical flow in another way"):
        convert(tmp_path / "a.pth", tmp_path / "out", tiny(options), source="tsm")


def test_a_2d_network_becomes_a_tsn_that_averages_its_answers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    resnet = torchvision.models.resnet18().eval()
    torch.save(resnet.state_dict(), tmp_path / "resnet18.pth")
    convert(tmp_path / "resnet18.pth", tmp_path / "out", tiny(TSNOptions(depth=18)), source="torchvision")
    model, described = load_model(tmp_path / "out")
    clips = torch.randn(1, 3, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(model(clips)[0], resnet(clips[0].transpose(0, 1)).mean(0))
    assert described.classes[:2] == ("tench", "goldfish")


def narrow_resnet18() -> dict[str, Tensor]:
    """A state dict by torchvision's names, of fewer channels than its own networks have."""
    return foreign_state_dict(TSNOptions(depth=18, width=8, num_classes=1000).build(), source="torchvision")


@pytest.mark.parametrize("kind", [I3DOptions, SlowOnlyOptions])
def test_a_2d_network_is_inflated(tmp_path: Path, kind: type[I3DOptions] | type[SlowOnlyOptions]) -> None:
    resnet = narrow_resnet18()
    torch.save(resnet, tmp_path / "resnet18.pth")
    convert(tmp_path / "resnet18.pth", tmp_path / "out", tiny(kind(depth=18, width=8)), source="torchvision")
    model, described = load_model(tmp_path / "out")
    inflated = 0
    for key, value in model.state_dict().items():
        if value.dim() == 5:
            inflated += value.shape[2] > 1
            assert all(torch.equal(value[:, :, 0], value[:, :, t]) for t in range(value.shape[2]))
        whole = value.sum(2) if value.dim() == 5 else value
        torch.testing.assert_close(whole, resnet[key.removeprefix("backbone.")], msg=key)
    assert inflated
    assert described.classes[:2] == ("tench", "goldfish")


@pytest.mark.parametrize(
    "options",
    [
        SlowFastOptions(depth=18, width=8),
        R2Plus1DOptions(depth=18, width=8),
        TSNOptions(depth=18, width=16),
        I3DOptions(depth=18, width=8, non_local="dot_product"),
    ],
)
def test_a_network_without_a_place_for_2d_weights_is_refused(tmp_path: Path, options: RecognizerOptions) -> None:
    torch.save(narrow_resnet18(), tmp_path / "resnet18.pth")
    with pytest.raises(UserError, match=r"do not fit each other|torchvision has no SlowFast"):
        convert(tmp_path / "resnet18.pth", tmp_path / "out", tiny(options), source="torchvision")


def test_class_names(tmp_path: Path) -> None:
    def names(count: int, recipe: str, classes: str | None = None) -> tuple[str, ...]:
        options = replace(TINY, num_classes=count)
        torch.save(filled(options), tmp_path / "a.pth")
        (tmp_path / "classes.txt").write_text(classes or "")
        file = tmp_path / "classes.txt" if classes else None
        described = {recipe: tiny(TINY)["tiny"]}
        return convert(tmp_path / "a.pth", tmp_path / "out", described, source="mmaction2", classes=file).classes

    kinetics = names(400, "tsn_r50_1x1x3_100e_kinetics400_rgb")
    assert len(kinetics) == 400
    assert (kinetics[0], kinetics[290], kinetics[399]) == ("abseiling", "sharpening knives", "zumba")
    assert list(kinetics) == sorted(kinetics, key=str.lower)
    assert names(400, "mine") == tuple(map(str, range(400)))
    assert names(3, "tsn_r50_1x1x3_100e_kinetics400_rgb") == ("0", "1", "2")
    assert names(3, "mine", "run\njump\nsit\n") == ("run", "jump", "sit")
    with pytest.raises(UserError, match=r"classes\.txt names 2 classes, but the weights have 3"):
        names(3, "mine", "run\njump\n")


def test_only_an_earlier_model_is_replaced(tmp_path: Path) -> None:
    torch.save(filled(TINY), tmp_path / "a.pth")
    out = tmp_path / "out"
    for _ in range(2):
        convert(tmp_path / "a.pth", out, tiny(TINY), source="mmaction2")
        assert {path.name for path in out.iterdir()} == {"model.json", "model.safetensors"}
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files \(notes\.txt\)"):
        convert(tmp_path / "a.pth", out, tiny(TINY), source="mmaction2")
    with pytest.raises(UserError, match="is a file"):
        convert(tmp_path / "a.pth", tmp_path / "a.pth", tiny(TINY), source="mmaction2")
    assert (out / "notes.txt").exists()


COUNTERPARTS = {name: recipe for name, recipe in reference_models.RECIPES.items() if not name.startswith("x3d")}
"""The reference's models whose keys are at hand → recipes of the same networks."""


@pytest.mark.parametrize(
    "name",
    [name if name == "tsn_r50_1x1x3" else pytest.param(name, marks=pytest.mark.slow) for name in COUNTERPARTS],
)
def test_mmaction2s_checkpoints_come_back_bit_by_bit(shared: Path, tmp_path: Path, name: str) -> None:
    """From the reference's own list of keys and shapes, to a model, to a checkpoint."""
    generator = torch.Generator().manual_seed(0)
    weights = {
        key: torch.tensor(7) if key.endswith("num_batches_tracked") else torch.randn(shape, generator=generator)
        for key, shape in parity.keys(shared, name).shapes.items()
    }
    torch.save({"meta": {}, "state_dict": weights}, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "model", candidates(COUNTERPARTS[name]), source="mmaction2")
    convert_back(tmp_path / "model", tmp_path / "b.pth")
    back = torch.load(tmp_path / "b.pth", weights_only=True)
    assert back["meta"] == {}
    assert back["state_dict"].keys() == weights.keys()
    for key, value in back["state_dict"].items():
        assert value.dtype == weights[key].dtype
        assert torch.equal(value, weights[key]), key


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (R2Plus1DOptions(depth=18, width=8, form="torchvision"), "no R.2.1.D of torchvision's form"),
        (R2Plus1DOptions(depth=18, width=8, convolutions="3d"), "R3D or MC3"),
        (
            I3DOptions(depth=18, width=8, non_local="dot_product", non_local_form="pyslowfast"),
            "non-local blocks differ",
        ),
    ],
)
def test_networks_that_mmaction2_has_not_are_refused(tmp_path: Path, options: RecognizerOptions, said: str) -> None:
    described = replace(tiny(options)["tiny"], classes=tuple(map(str, range(400))))
    save_model(tmp_path, options.build().state_dict(), described)
    with pytest.raises(UserError, match=said):
        convert_back(tmp_path, tmp_path / "a.pth")
    assert not (tmp_path / "a.pth").exists()


def test_normalisation_that_mmaction2_must_be_told_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = replace(TINY, mean=(1.0, 2.0, 3.0))
    save_model(tmp_path, options.build().state_dict(), replace(tiny(options)["tiny"], classes=("a", "b", "c")))
    convert_back(tmp_path, tmp_path / "a.pth")
    assert "mean=[1.0, 2.0, 3.0]" in caplog.text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    weights = filled(TINY)
    weights["backbone.layer1.0.conv1.conv.weight"][0, 0, 0, 0] = value
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"a\.pth holds NaN or infinity in 1 of .*backbone\.layer1\.0\.conv1\.conv"):
        convert(tmp_path / "a.pth", tmp_path / "out", tiny(TINY), source="mmaction2")
    assert not (tmp_path / "out").exists()


def test_a_model_whose_weights_are_no_numbers_is_not_loaded(tmp_path: Path) -> None:
    weights = TINY.build().state_dict()
    weights["fc.bias"][1] = float("nan")
    save_model(tmp_path, weights, replace(tiny(TINY)["tiny"], classes=("a", "b", "c")))
    with pytest.raises(UserError, match=r"model\.safetensors holds NaN or infinity in 1 of .* \(fc\.bias\)"):
        load_model(tmp_path)


def test_mmaction2s_backbone_alone_is_taken(tmp_path: Path) -> None:
    weights = {key.removeprefix("backbone."): value for key, value in filled(TINY).items() if "backbone" in key}
    torch.save(weights, tmp_path / "a.pth")
    with pytest.raises(UserError, match="--from mmaction2"):
        convert(tmp_path / "a.pth", tmp_path / "out", tiny(TINY), source="torchvision")
    with pytest.raises(UserError, match="in 2 keys"):  # the head
        convert(tmp_path / "a.pth", tmp_path / "out", tiny(TINY), source="mmaction2")
    convert(tmp_path / "a.pth", tmp_path / "out", tiny(TINY), source="mmaction2", allow_missing=["cls_head.*"])
    found = load_model(tmp_path / "out")[0].backbone.state_dict()
    assert torch.equal(found["conv1.weight"], weights["conv1.conv.weight"])


def test_pyslowfasts_slow_frames_are_not_mmaction2s(tmp_path: Path) -> None:
    options = SlowFastOptions(depth=18, width=8, num_classes=3, slow_frames="spread")
    save_model(tmp_path, options.build().state_dict(), replace(tiny(options)["tiny"], classes=("a", "b", "c")))
    with pytest.raises(UserError, match="slow pathway takes other frames"):
        convert_back(tmp_path, tmp_path / "a.pth")
