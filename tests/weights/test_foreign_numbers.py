"""Converted models compute what the tools' own code computes: numbers that `benchmarks/foreign_numbers` recorded."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kinema.models import RecognizerOptions
from kinema.models.foreign import Source
from kinema.recipes import RECOGNIZERS, config_of, recognizer_config_of
from kinema.tasks.localization.description import load_localizer
from kinema.tasks.models import load_model
from kinema.weights.convert import convert, convert_localizer
from tests.models import parity

FOLDER = Path(__file__).parents[1] / "models" / "foreign_numbers"
Case = dict[str, Any]

TOLERANCE = 2e-5
"""Of the largest logit, for the tools' rounding: they computed in float32, which has 1.2e-7, up to 150 convolutions."""

MMACTION2 = {
    "tsn_r50": "tsn_r50_1x1x3_100e_kinetics400_rgb",
    "tsn_r50_8": "tsn_r50_1x1x8_100e_kinetics400_rgb",
    "tsn_r18": "tsn_r18_video_1x1x3_100e_kinetics400_rgb",
    "tsn_r101": "tsn_r101_video_1x1x3_100e_kinetics400_rgb",
    "tsn_r50_flow": "tsn_r50_1x1x3_110e_kinetics400_flow",
    "tsm_r50": "tsm_r50_1x1x8_50e_kinetics400_rgb",
    "tsm_r50_16": "tsm_r50_1x1x16_50e_kinetics400_rgb",
    "tsm_r18": "tsm_r18_video_1x1x8_50e_kinetics400_rgb",
    "tsm_r18_div4": "tsm_r18_video_1x1x8_small_rgb",
    "tsm_r101": "tsm_r101_video_1x1x8_50e_kinetics400_rgb",
    "i3d_r50_32x2": "i3d_r50_32x2x1_100e_kinetics400_rgb",
    "i3d_r50_heavy_8x8": "i3d_r50_heavy_8x8x1_100e_kinetics400_rgb",
    "i3d_r50_8x8": "i3d_r50_8x8x1_100e_kinetics400_rgb",
    "i3d_r50_nl_dot_product": "i3d_r50_nl_dot_product_32x2x1_100e_kinetics400_rgb",
    "i3d_r50_nl_embedded_gaussian": "i3d_r50_nl_embedded_gaussian_32x2x1_100e_kinetics400_rgb",
    "i3d_r101_32x2": "i3d_r101_video_32x2x1_100e_kinetics400_rgb",
    "i3d_r18_32x2": "i3d_r18_video_32x2x1_100e_kinetics400_rgb",
    "slowonly_r50_4x16": "slowonly_r50_4x16x1_256e_kinetics400_rgb",
    "slowonly_r50_8x8": "slowonly_r50_8x8x1_256e_kinetics400_rgb",
    "slowonly_r18_4x16": "slowonly_r18_video_4x16x1_256e_kinetics400_rgb",
    "slowonly_r101_8x8": "slowonly_r101_8x8x1_196e_kinetics400_rgb",
    "slowfast_r50_4x16": "slowfast_r50_4x16x1_256e_kinetics400_rgb",
    "slowfast_r50_8x8": "slowfast_r50_8x8x1_256e_kinetics400_rgb",
    "slowfast_r50_8x8_multigrid": "slowfast_multigrid_r50_8x8x1_358e_kinetics400_rgb",
    "slowfast_r50_16x8": "slowfast_r50_16x8x1_22e_sthv1_rgb",
    "slowfast_r101_8x8": "slowfast_r101_8x8x1_256e_kinetics400_rgb",
    "slowfast_r101_4x16": "slowfast_r101_video_4x16x1_256e_kinetics400_rgb",
    "slowfast_r18_4x16": "slowfast_r18_video_4x16x1_256e_kinetics400_rgb",
    "slowfast_r18_4x4": "slowfast_r18_video_4x4x1_small_rgb",
    "r2plus1d_r34_8x8": "r2plus1d_r34_8x8x1_180e_kinetics400_rgb",
    "r2plus1d_r34_32x2": "r2plus1d_r34_32x2x1_180e_kinetics400_rgb",
    "r2plus1d_r18_8x8": "r2plus1d_r18_video_8x8x1_180e_kinetics400_rgb",
}
RECIPES: dict[str, dict[str, str]] = {
    "mmaction2": MMACTION2,
    "mmaction2_0x": MMACTION2,
    "pyslowfast": {
        "i3d_r50_8x8": "i3d_r50_video_8x8x1_100e_kinetics400_rgb",
        "i3d_nln_r50_8x8": "i3d_r50_video_nl_embedded_gaussian_8x8x1_100e_kinetics400_rgb",
        "slow_r50_4x16": "slowonly_r50_video_4x16x1_256e_kinetics400_rgb",
        "slow_r50_8x8": "slowonly_r50_video_8x8x1_256e_kinetics400_rgb",
        "slow_r101_8x8": "slowonly_r101_video_8x8x1_196e_kinetics400_rgb",
        "slowfast_r50_4x16": "slowfast_r50_video_4x16x1_256e_kinetics400_rgb",
        "slowfast_r50_8x8": "slowfast_r50_video_8x8x1_256e_kinetics400_rgb",
        "slowfast_r50_8x8_multigrid": "slowfast_r50_video_8x8x1_256e_kinetics400_rgb",
        "slowfast_r50_16x8_charades": "slowfast_r50_video_16x8x1_57e_charades_rgb",
        "slowfast_r101_8x8": "slowfast_r101_video_8x8x1_256e_kinetics400_rgb",
        "slowfast_r101_4x16": "slowfast_r101_video_4x16x1_256e_kinetics400_rgb",
        "mvitv2_s_16x4": "mvitv2_s_16x4_kinetics400",
    },
    "tsm": {name: MMACTION2[name] for name in (
        "tsn_r50", "tsn_r18", "tsn_r101", "tsm_r50", "tsm_r50_16", "tsm_r18", "tsm_r18_div4", "tsm_r101")}
    | {"tsm_mobilenetv2": "tsm_mobilenetv2_8x8_kinetics400"},
    "torchvision": {
        "r2plus1d_18": "r2plus1d_18_video_16x2x1_225e_kinetics400_rgb",
        "r3d_18": "r3d_18_video_16x2x1_225e_kinetics400_rgb",
        "mc3_18": "mc3_18_video_16x2x1_225e_kinetics400_rgb",
        "resnet18": "tsn_r18_video_1x1x3_100e_kinetics400_rgb",
        "resnet50": "tsn_r50_video_1x1x3_100e_kinetics400_rgb",
        "resnet101": "tsn_r101_video_1x1x3_100e_kinetics400_rgb",
    },
}  # fmt: skip
"""Tool → network → recipe that trains it."""

QUICK = {
    ("mmaction2_0x", "tsm_r18_div4"),
    ("mmaction2_0x", "i3d_r50_nl_embedded_gaussian"),
    ("mmaction2_0x", "slowfast_r18_4x4"),
    ("mmaction2_0x", "r2plus1d_r18_8x8"),
    ("mmaction2", "slowonly_r50_4x16"),
    ("pyslowfast", "i3d_nln_r50_8x8"),
    ("pyslowfast", "slowfast_r50_8x8"),
    ("pyslowfast", "slow_r50_8x8"),
    ("pyslowfast", "mvitv2_s_16x4"),
    ("torchvision", "resnet18"),
    ("tsm", "tsm_mobilenetv2"),
}
"""One network of each kind, in every run of the tests."""


@cache
def recorded(tool: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{tool}.json").read_text())
    return found


def cases() -> Iterator[Any]:
    for tool, recipes in RECIPES.items():
        for case in recorded(tool)["cases"]:
            if case["name"] in recipes:
                marks = () if (tool, case["name"]) in QUICK else pytest.mark.slow
                yield pytest.param(tool, case, id=f"{tool}-{case['name']}", marks=marks)


def weights_of(tool: str, case: Case, scales: dict[str, float] | None = None) -> dict[str, Tensor]:
    shapes = parity.expanded(recorded(tool)["keys"][case["keys"]])
    return parity.state_dict(shapes, case.get("scales", {}) if scales is None else scales)


def source_of(tool: str) -> Source:
    sources: dict[str, Source] = {"mmaction2_0x": "mmaction2", "pyslowfast": "pyslowfast", "tsm": "tsm"}
    return sources.get(tool, "torchvision" if tool == "torchvision" else "mmaction2")


def checkpoint(folder: Path, tool: str, case: Case, weights: dict[str, Tensor], *, config: bool = True) -> Path:
    """The file that the tool would have written."""
    text = case.get("config", "") if config else ""
    path = folder / case.get("file", "checkpoint.pth")
    content: dict[str, object] = {
        "mmaction2": {"meta": {"cfg": text}, "state_dict": weights},
        "mmaction2_0x": {"meta": {"config": text}, "state_dict": weights},
        "pyslowfast": {"epoch": 1, "model_state": weights, "optimizer_state": {}, "cfg": text},
        "tsm": {"epoch": 1, "state_dict": {f"module.{key}": value for key, value in weights.items()}},
        "torchvision": weights,
    }[tool]
    torch.save(content, path)
    return path


def converted(folder: Path, tool: str, case: Case, weights: dict[str, Tensor]) -> tuple[torch.nn.Module, Any]:
    recipe = RECIPES[tool][case["name"]]
    described = recognizer_config_of(recipe).describe()
    width = 64 if described.model.__class__.__name__ in ("TSNOptions", "TSMOptions") or tool == "torchvision" else 16
    candidates = {recipe: replace(described, model=replace(described.model, width=width))}
    convert(checkpoint(folder, tool, case, weights), folder / "model", candidates, source=source_of(tool))
    return load_model(folder / "model")


@pytest.mark.parametrize(("tool", "case"), list(cases()))
def test_logits_are_the_tools(tmp_path: Path, tool: str, case: Case) -> None:
    """From pixels on: normalization, frames, strides, padding, pooling, activation, epsilon, the head's order.

    In float64, as sharp attention makes float32 differ between kinds of CPUs by more than the tolerance.
    """
    model, _ = converted(tmp_path, tool, case, weights_of(tool, case))
    expected = torch.tensor(case["logits"])
    channels = 2 if "flow" in case["name"] else 3
    with torch.inference_mode():
        logits = model.double()(parity.pixels(channels, case["frames"], case["size"]))
    assert (logits - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.mark.parametrize(("tool", "case"), [param for param in cases() if "windows" in param.values[1]])
def test_pyslowfasts_probabilities(tmp_path: Path, tool: str, case: Case) -> None:
    """Also of crops larger than those trained on, whose windows' probabilities it averages."""
    model, described = converted(tmp_path, tool, case, weights_of(tool, case, case["scaled"]))
    assert described.task.labels == ("multi" if "charades" in case["name"] else "single")
    activation = torch.sigmoid if described.task.labels == "multi" else partial(torch.softmax, dim=1)
    for size, expected in ((64, case["probabilities"]), (96, case["windows"])):
        pixels, bound = parity.pixels(3, case["frames"], size), 1e-5
        with torch.inference_mode():
            probabilities = activation(model.float()(pixels))
            if "nln" in case["name"]:  # sharp attention amplifies rounding: as far as float32 is from float64 here
                bound += 10 * float((probabilities - activation(model.double()(pixels))).abs().max())
        assert (probabilities - torch.tensor(expected)).abs().max() < bound


LOCALIZERS = {
    "bmn": "bmn_400x100_2x8_9e_activitynet_feature",
    "bmn_2048": "bmn_400x100_2x8_9e_activitynet_feature",
    "bmn_64x50": "bmn_64x50_small_feature",
    "bsn_tem": "bsn_tem_400x100_1x16_20e_activitynet_feature",
    "bsn_tem_2048": "bsn_tem_400x100_1x16_20e_activitynet_feature",
    "bsn_pem": "bsn_pem_400x100_1x16_20e_activitynet_feature",
}


@pytest.mark.parametrize("tool", ["mmaction2", pytest.param("mmaction2_0x", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", LOCALIZERS)
def test_localizers_answer_as_mmaction2_does(tmp_path: Path, tool: str, name: str) -> None:
    case = next(case for case in recorded(tool)["cases"] if case["name"] == name)
    shapes = parity.expanded(recorded(tool)["keys"][case["keys"]])
    constants = {key: torch.zeros(()).expand(shapes.pop(key)) for key in [*shapes] if key.endswith("_mask")}
    path = checkpoint(tmp_path, tool, case, parity.state_dict(shapes) | constants)
    candidates = {recipe: config_of(recipe).describe() for recipe in set(LOCALIZERS.values())}
    assert convert_localizer(path, tmp_path / "model", candidates)
    model, described = load_localizer(tmp_path / "model")
    assert described.recipe == LOCALIZERS[name]
    assert described.model.feature_channels == case["input_shape"][-1 if name == "bsn_pem" else 1]
    with torch.inference_mode():
        answer = model(parity.features(case["input_shape"]))
    parts = answer if isinstance(answer, tuple) else (answer,)
    stacked = torch.stack(parts, 1).flatten() if "tem" in name else torch.cat([part.flatten() for part in parts])
    found, expected = stacked[::97], torch.tensor(case["logits"][0])
    if "bmn" in name:  # Kinema computes the segments that exist, MMAction2 also those that run past the end
        found, expected = found[found > 0], expected[found > 0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def _computed(options: RecognizerOptions) -> RecognizerOptions:
    """RecognizerOptions by which networks compute differently, without those of training and of the head."""
    same = {
        "num_classes": 400,
        "dropout": 0.5,
        "init_std": 0.01,
        "zero_init_residual": False,
        "norm_eval": False,
        "frozen_stages": -1,
        "width": 64,
        "pretrained": "none",
    }
    return replace(options, **{name: value for name, value in same.items() if hasattr(options, name)})  # type: ignore[arg-type]


BESIDE = (
    "x3d",
    "s3d",
    "swin3d",
    "mvitv2",
    "videomae",
    "timesformer",
    "vjepa2",
    "tsn_mobilenetv4",
    "tsn_efficientnet",
    "tsm_efficientnet",
)
"""Recipes whose networks are proven beside the tool itself: test_x3d.py, test_torchvision_networks.py, …"""


def test_every_recipe_is_proven() -> None:
    """Against a network of a tool: as deep, with the same options, but for its width."""
    proven = [recognizer_config_of(recipe).model for recipes in RECIPES.values() for recipe in recipes.values()]
    known = [repr(_computed(options)) for options in proven]
    others = {name: recipe for name, recipe in RECOGNIZERS.items() if not name.startswith(BESIDE)}
    assert [name for name, recipe in others.items() if repr(_computed(recipe().model)) not in known] == []
