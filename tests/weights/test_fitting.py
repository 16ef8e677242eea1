"""Weights that tell by their names and shapes which recipe's model they are of."""

import pytest
import torch
import torchvision
from torch import Tensor

from kinema.errors import UserError
from kinema.models import RecognizerOptions
from kinema.models.foreign import Source, foreign_state_dict
from kinema.models.slowfast import SlowFastOptions
from kinema.models.tsm import TSMOptions
from kinema.models.tsn import TSNOptions
from kinema.weights.fitting import find_recipe
from kinema.weights.model_files import AnyDescription
from tests.weights.foreign_checkpoints import candidates


def on_meta(options: RecognizerOptions, source: Source = "mmaction2") -> dict[str, Tensor]:
    with torch.device("meta"):
        return foreign_state_dict(options.build(), source=source)


NAMES = (
    "tsn_r50_1x1x3_100e_kinetics400_rgb",
    "tsn_r50_video_1x1x3_100e_kinetics400_rgb",
    "tsn_r50_1x1x8_50e_hmdb51_rgb",
    "tsm_r50_1x1x8_50e_kinetics400_rgb",
    "i3d_r50_32x2x1_100e_kinetics400_rgb",
    "slowfast_r50_video_4x16x1_256e_kinetics400_rgb",
    "slowfast_r50_video_8x8x1_256e_kinetics400_rgb",
    "r2plus1d_18_video_16x2x1_225e_kinetics400_rgb",
    "r3d_18_video_16x2x1_225e_kinetics400_rgb",
)


@pytest.fixture(scope="module")
def some() -> dict[str, AnyDescription]:
    return candidates(*NAMES)


@pytest.mark.parametrize(
    ("options", "source", "recipe"),
    [
        (TSMOptions(), "mmaction2", "tsm_r50_1x1x8_50e_kinetics400_rgb"),
        (TSMOptions(num_classes=12), "tsm", "tsm_r50_1x1x8_50e_kinetics400_rgb"),
        (TSNOptions(num_classes=51), "mmaction2", "tsn_r50_1x1x8_50e_hmdb51_rgb"),
        (SlowFastOptions(), "mmaction2", "slowfast_r50_video_4x16x1_256e_kinetics400_rgb"),
        (
            SlowFastOptions(alpha=4, fusion_kernel=7, lateral_norm=True),
            "pyslowfast",
            "slowfast_r50_video_8x8x1_256e_kinetics400_rgb",
        ),
    ],
)
def test_weights_tell_their_recipe(
    some: dict[str, AnyDescription], options: RecognizerOptions, source: Source, recipe: str
) -> None:
    assert find_recipe(on_meta(options, source), some, source=source, path="a.pth") == recipe


@pytest.mark.parametrize("name", ["r2plus1d_18", "r3d_18"])
def test_torchvisions_networks_tell_theirs(some: dict[str, AnyDescription], name: str) -> None:
    with torch.device("meta"):
        weights = torchvision.models.get_model(name).state_dict()
    found = find_recipe(weights, some, source="torchvision", path="a.pth")
    assert found == f"{name}_video_16x2x1_225e_kinetics400_rgb"


def test_several_recipes_that_fit_are_named(some: dict[str, AnyDescription]) -> None:
    path = "/x/tsn_r50_video_1x1x3_100e_kinetics400_rgb_20201014-5ae1ee79.pth"
    with pytest.raises(UserError) as error:
        find_recipe(on_meta(TSNOptions()), some, source="mmaction2", path=path)
    title, *rows = str(error.value).splitlines()
    assert "fits 2 recipes" in title
    assert title.endswith("name one with --recipe; did you mean 'tsn_r50_video_1x1x3_100e_kinetics400_rgb'?")
    assert [row.split()[:2] for row in rows] == [
        ["tsn_r50_1x1x3_100e_kinetics400_rgb", "rawframes"],
        ["tsn_r50_video_1x1x3_100e_kinetics400_rgb", "video"],
    ]
    assert "tested on 1x1x25, ten crop, 224 px" in rows[0]


def test_imagenets_weights_fit_2d_and_inflated_networks(some: dict[str, AnyDescription]) -> None:
    with torch.device("meta"):
        weights = torchvision.models.resnet50().state_dict()
    with pytest.raises(UserError, match="fits 5 recipes") as error:
        find_recipe(weights, some, source="torchvision", path="resnet50.pth")
    assert {row.split()[0].partition("_")[0] for row in str(error.value).splitlines()[1:]} == {"tsn", "tsm", "i3d"}


def test_the_nearest_recipes_are_named_where_none_fits(some: dict[str, AnyDescription]) -> None:
    weights = on_meta(SlowFastOptions())
    del weights["backbone.slow_path.conv1.bn.bias"]
    with pytest.raises(UserError) as error:
        find_recipe(weights, some, source="mmaction2", path="a.pth")
    title, first, *_ = str(error.value).splitlines()
    assert "no recipe's model has these" in title
    assert first.strip() == (
        "slowfast_r50_video_4x16x1_256e_kinetics400_rgb: 1 missing (backbone.slow_path.conv1.bn.bias)"
    )
