"""The table of published weights: names, hashes, and that each row's recipe has the network of its file.

The keys and shapes come from the tools' own code: recorded by `benchmarks/foreign_numbers`, in `../shared`, or, of
torchvision, pytorchvideo and transformers, built here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
import transformers
from pytorchvideo.models.x3d import create_x3d
from torch import Tensor

from kinema.errors import UserError
from kinema.models import name_of
from kinema.models.foreign import foreign_misfits
from kinema.recipes import RECIPES, config_of
from kinema.weights.fitting import as_trained
from kinema.weights.published.table import Published, find_published, matching, read_table
from tests.models import parity

ROWS = read_table()
SINGLE = {name: row for name, row in ROWS.items() if row.url}
RECORDED = Path(__file__).parents[2] / "models" / "foreign_numbers"

SIZES: dict[str, dict[str, Any]] = {
    "videomae_s": {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
    "videomae_b": {},
    "videomae_l": {
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    },
    "videomae_h": {
        "hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16, "intermediate_size": 5120,
    },
    "vjepa2_l": {},
    "vjepa2_h": {"hidden_size": 1280, "num_hidden_layers": 32},
    "vjepa2_g": {"hidden_size": 1408, "num_hidden_layers": 40, "num_attention_heads": 22, "mlp_ratio": 48 / 11},
}  # fmt: skip
"""Configurations of transformers by the beginning of a recipe's name."""

TORCHVISION = {
    "r2plus1d_18_": "r2plus1d_18", "r3d_18_": "r3d_18", "mc3_18_": "mc3_18", "s3d_": "s3d", "mvitv2_s_": "mvit_v2_s",
    "swin3d_t_": "swin3d_t", "swin3d_s_": "swin3d_s", "swin3d_b_": "swin3d_b",
}  # fmt: skip

NARROW = ("i3d", "slowonly", "slowfast", "r2plus1d")
"""Networks that were recorded with a quarter of their channels."""


def meta(shapes: Mapping[str, Any]) -> dict[str, Tensor]:
    return {key: torch.empty(tuple(shape), device="meta") for key, shape in shapes.items()}


@cache
def recorded(tool: str) -> dict[str, dict[str, Tensor]]:
    """Weights of each network that a tool's code was run with: narrow, of 11 classes."""
    keys: dict[str, dict[str, str]] = json.loads((RECORDED / f"{tool}.json").read_text())["keys"]
    return {name: meta(parity.expanded(modules)) for name, modules in keys.items()}


def manifests(row: Published, shared: Path) -> Iterator[dict[str, Tensor]]:
    """Weights of networks by the tool's own code, one of which must be that of the row."""
    if row.tool in ("mmaction2", "tsm"):
        version = "_0x" if row.version.startswith("0.x") and row.tool == "mmaction2" else ""
        for name, weights in {**recorded("mmaction2_0x"), **recorded(f"{row.tool}{version}")}.items():
            if row.recipe.startswith(name.partition("_")[0]):
                yield weights
    elif row.tool == "torchvision":
        builder = next(name for start, name in TORCHVISION.items() if row.recipe.startswith(start))
        with torch.device("meta"):
            yield getattr(torchvision.models.video, builder)().state_dict()
    elif row.tool == "pytorchvideo":
        with torch.device("meta"):
            yield create_x3d(
                input_clip_length=16, input_crop_size=224, depth_factor=5.0 if "_l_" in row.recipe else 2.2
            ).state_dict()
    elif row.tool == "pyslowfast" and not row.recipe.startswith("x3d"):
        yield from recorded("pyslowfast").values()
    elif row.tool == "pyslowfast" and row.recipe.startswith("x3d_l"):
        yield from recorded("pyslowfast_x3d_l").values()
    elif row.tool == "pyslowfast":
        yield meta(parity.keys(shared, "x3d_s_pysf").shapes)
    elif row.tool == "videomae":
        shapes = parity.keys(shared, "videomae_vit_b16").shapes
        names = parity.recorded(shared, "videomae_vit_b16")["original_to_hf"]
        original = {name: shapes[parts[0]] for name, parts in names.items()}
        stacked = {name: [len(parts) * original[name][0], *original[name][1:]] for name, parts in names.items()}
        scale = SIZES[row.recipe[:10]].get("hidden_size", 768) / 768
        narrow = {name: [n if n in (1, 2, 3, 16, 400) else round(n * scale) for n in s] for name, s in stacked.items()}
        yield meta({name: [row.classes if n == 400 else n for n in shape] for name, shape in narrow.items()})
    else:
        size = next(size for start, size in SIZES.items() if row.recipe.startswith(start))
        family = "VideoMAE" if row.recipe.startswith("videomae") else "VJEPA2"
        kind = "Model" if family == "VJEPA2" and not row.classes else "ForVideoClassification"
        config = getattr(transformers, f"{family}Config")(**size, num_labels=row.classes or 2)
        with torch.device("meta"):
            yield getattr(transformers, family + kind)(config).state_dict()


NETWORKS: dict[str, Any] = {}


def network(options: Any) -> Any:
    """The network without memory; many rows have the same one."""
    if repr(options) not in NETWORKS:
        with torch.device("meta"):
            NETWORKS[repr(options)] = options.build()
    return NETWORKS[repr(options)]


def options_of(row: Published) -> Any:
    (training,) = config_of(row.recipe, row.options).stages().values()
    return training.model


def of_one_network() -> Iterator[Any]:
    """A row for each network of a tool's, as its version writes it; large transformers in the slow tests only."""
    rows: dict[str, Published] = {}
    for row in SINGLE.values():
        written = row.version[:3] if row.tool == "mmaction2" else bool(row.classes)
        rows.setdefault(f"{options_of(row)} {row.tool} {written}", row)
    for row in rows.values():
        quick = row.tool != "transformers" or row.recipe.startswith(("videomae_s_16", "vjepa2_l"))
        yield pytest.param(row.name, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize("name", list(of_one_network()))
def test_the_recipes_network_has_the_files_keys(name: str, shared: Path) -> None:
    row = SINGLE[name]
    options = options_of(row)
    misfits = []
    for weights in manifests(row, shared):
        theirs = options
        if row.tool in ("mmaction2", "pyslowfast") and name_of(options) in NARROW:
            theirs = replace(options, width=16)
        if hasattr(theirs, "of_source"):
            theirs = as_trained(theirs, weights, row.tool)
        misfits.append(foreign_misfits(network(theirs), weights, source=row.tool))
        if not misfits[-1]:
            return
    pytest.fail(f"{len(misfits)} manifests; the nearest differs in {min(misfits, key=len)[:3]}")


def test_rows_are_complete() -> None:
    for name, row in ROWS.items():
        assert row.recipe in RECIPES, name
        assert row.name.partition("@")[0] == row.recipe, name
        assert row.name in (row.recipe, f"{row.recipe}@{row.tool}-{row.version}".removesuffix("-")), name
        assert row.licence, name
        assert row.parameters, name
        assert all(part in ROWS for part in row.parts.values()), name
        assert bool(row.url) != bool(row.parts), name
        assert row.url.startswith(("https://", "hf:")) or row.parts, name
        assert row.accuracy or row.dataset == "pre-training", name


def test_hashes_are_those_in_the_names_of_the_files() -> None:
    """MMAction2 and torchvision end names with the first 8 digits of the file's SHA-256."""
    for name, row in SINGLE.items():
        suffix = re.search(r"-([0-9a-f]{8})\.pth$", row.url)
        assert row.sha256 == (suffix[1] if suffix else ""), name
    urls = [row.url for row in SINGLE.values()]
    assert len(urls) == len(set(urls))  # several rows upstream have another row's address


def test_the_best_of_a_recipe_has_its_name() -> None:
    """Among those of the recipe's data and clips; the rows of a data set are in the order of their figures."""
    for name, row in ROWS.items():
        if "@" not in name:
            rivals = [one for one in ROWS.values() if one.recipe == row.recipe and one.dataset == row.dataset]
            rivals = [one for one in rivals if not one.options and "-" not in one.version] + [row]
            assert max(one.top1 or one.figure or 0 for one in rivals) == (row.top1 or row.figure), name
    order = [row.dataset for row in ROWS.values()]
    for dataset in dict.fromkeys(order):
        figures = [row.top1 or row.figure or 0 for row in ROWS.values() if row.dataset == dataset]
        assert figures == sorted(figures, reverse=True)
    assert len(dict.fromkeys(order)) == 1 + sum(one != other for one, other in pairwise(order))


@pytest.mark.slow
def test_parameters_are_the_networks() -> None:
    for name, row in SINGLE.items():
        options = options_of(row)
        if row.classes:
            options = replace(options, num_classes=row.classes)
        assert row.parameters == sum(one.numel() for one in network(options).parameters()), name


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("tsm_r50_video_1x1x8_50e_kinetics400_rgb", "tsm_r50_video_1x1x8_50e_kinetics400_rgb"),
        ("tsm_r50_1x1x8_50e_kinetics400_rgb", "tsm_r50_video_1x1x8_50e_kinetics400_rgb"),  # on frames
        ("tsm_r50_1x1x8_50e_kinetics400_rgb@tsm", "tsm_r50_video_1x1x8_50e_kinetics400_rgb@tsm"),
        ("x3d_s_13x6_kinetics400@pyslowfast", "x3d_s_13x6_kinetics400"),
        ("bmn_400x100_2x8_9e_activitynet_feature@mmaction2-1.x", "bmn_400x100_2x8_9e_activitynet_feature"),
        ("tsn_r50_video_1x1x3_100e_kinetics400_rgb@mmaction2", "tsn_r50_video_1x1x3_100e_kinetics400_rgb"),
    ],
)
def test_names(asked: str, name: str) -> None:
    assert find_published(asked, ROWS).name == name


@pytest.mark.parametrize(
    ("asked", "offered"),
    [
        ("tsm_r50_video_1x1x8_50e_kinetics400", "tsm_r50_video_1x1x8_50e_kinetics400_rgb"),
        ("x3d_s_13x6_kinetics400@mmaction2", "x3d_s_13x6_kinetics400@pytorchvideo"),
        ("vjepa2_h_16x4_sthv2", "vjepa2_h_16x4_sthv2@transformers-encoder"),  # without a head, it is never the best
    ],
)
def test_unknown_names_get_the_nearest(asked: str, offered: str) -> None:
    with pytest.raises(UserError, match="no published weights are called") as raised:
        find_published(asked, ROWS)
    assert offered in str(raised.value)


def test_patterns_match_names_twins_and_data_sets() -> None:
    assert {row.dataset for row in matching("jester", ROWS.values())} == {"Jester"}
    twins = matching("tsm_r50_1x1x8_50e_kinetics400*", ROWS.values())
    assert twins == matching("tsm_r50_video_1x1x8_50e_kinetics400*", ROWS.values()) != []
    assert len(matching("*", ROWS.values())) == len(ROWS)
