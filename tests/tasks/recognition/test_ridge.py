"""Linear heads in closed form."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from kinema.api import train
from kinema.errors import UserError
from kinema.tasks.recognition.probe.ridge import fit_ridge
from tests.conftest import tiny_config

Floats = NDArray[np.float64]


def primal(x: Floats, y: Floats, penalty: float) -> tuple[Floats, Floats]:
    """Ridge regression with an unpenalized constant, by its normal equations."""
    mean = x.mean(axis=0)
    centered = x - mean
    weight = np.linalg.solve(centered.T @ centered + penalty * np.eye(x.shape[1]), centered.T @ (y - y.mean(axis=0)))
    return weight, y.mean(axis=0) - mean @ weight


def planted(
    rows: int = 60, channels: int = 12, classes: int = 3
) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    random = np.random.default_rng(0)
    label = random.integers(classes, size=rows)
    x = random.normal(size=(rows, channels)) * random.uniform(0.1, 5, channels) + 3
    x[:, :classes] += 2 * np.eye(classes)[label]
    return x.astype(np.float32).astype(np.float64), label, np.arange(rows) % 5


@pytest.mark.parametrize("single", [True, False])
def test_the_penalty_is_the_best_on_parts_held_out(single: bool) -> None:
    x, label, folds = planted()
    y = np.eye(3)[label]
    spread = x.std(axis=0, ddof=1)
    spread = spread + 0.1 * spread.mean()
    z = (x - x.mean(axis=0)) / spread
    length = (z**2).sum(axis=1).mean()
    errors = {}
    for power in range(-6, 5):
        out = np.empty_like(y)
        for fold in range(5):
            weight, constant = primal(z[folds != fold], y[folds != fold], 10 ** (power / 2) * length)
            out[folds == fold] = z[folds == fold] @ weight + constant
        errors[10 ** (power / 2)] = ((out - y) ** 2).mean()
    best = min(errors, key=lambda penalty: errors[penalty])
    found = fit_ridge(
        torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32), torch.tensor(folds), single=single
    )
    assert found.penalty == pytest.approx(best)
    assert found.error == pytest.approx(errors[best], rel=1e-4)
    weight, constant = primal(z, y, best * length)
    expected = found.scale * (z @ weight + constant - (0 if single else 0.5))
    logits = x @ found.weight.numpy().T + found.bias.numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-3 * found.scale)
    assert (logits.argmax(axis=1) == label).mean() > 0.8


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(UserError, match="at most 12000 clips, found 12001"):
        fit_ridge(torch.zeros(12001, 1), torch.zeros(12001, 2), torch.zeros(12001), single=True)


def ridge_config(sample: Path, tmp_path: Path, **options: str) -> Any:
    own = {
        "task__probe__clips": "2", "task__probe__cache": str(tmp_path / "cache"), "task__probe__fit": "ridge",
        "schedule__epochs": "1", "optim__weight_decay": "0",
    }  # fmt: skip
    return tiny_config(sample, **{**own, **options})


def test_a_probe_in_closed_form_trains_the_head_alone(tiny_run: Path, sample: Path, tmp_path: Path) -> None:
    found = train(ridge_config(sample, tmp_path), work_dir=tmp_path / "run", init=tiny_run)
    before = load_file(tiny_run / "checkpoints/best/model.safetensors")
    after = load_file(tmp_path / "run/checkpoints/last/model.safetensors")
    assert {name for name in before if not torch.equal(before[name], after[name])} == {"fc.weight", "fc.bias"}
    again = train(ridge_config(sample, tmp_path, training__seed="0"), work_dir=tmp_path / "again", init=tiny_run)
    assert found["top1"] == again["top1"]
    other = load_file(tmp_path / "again/checkpoints/last/model.safetensors")
    assert all(torch.equal(after[name], other[name]) for name in after)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule__epochs": "3"}, "--schedule.epochs 3 is not for probes"),
        ({"optim__weight_decay": "0.1"}, "--optim.weight-decay 0.1 is not for probes"),
    ],
)
def test_options_without_effect_are_refused(
    options: dict[str, str], message: str, sample: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train(ridge_config(sample, tmp_path, **options), work_dir=tmp_path / "run")


CELLS: list[dict[str, Any]] = [
    {"cells": cells, "pool_parts": parts} for cells, parts in product([(0, 0), (2, 3)], [1, 2])
]


@pytest.mark.parametrize("options", CELLS)
def test_cells_and_parts_are_averages_side_by_side(options: dict[str, Any]) -> None:
    from kinema.models.tsn import TSNOptions

    torch.manual_seed(0)
    model = TSNOptions(depth=18, width=16, num_classes=4, pretrained="none", **options).build().eval()
    clips = torch.randint(0, 256, (2, 3, 4, 96, 96), dtype=torch.uint8)
    with torch.no_grad():
        maps = model.backbone(model.segments(clips)).unflatten(0, (2, 4))
        (rows, _), parts = options["cells"], options["pool_parts"]
        if rows:  # 3 × 3 points: rows 0–1 and 1–2, as adaptive pooling has it, and each column
            cells = [maps[:, :, :, top : top + 2, left].mean(dim=3) for top in (0, 1) for left in range(3)]
            means = [(cell - cell.mean(2, keepdim=True)) / (cell.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
                     for cell in cells]  # fmt: skip
            frames = torch.cat(means, dim=2)
        else:
            frames = maps.mean(dim=(3, 4))
        expected = torch.cat([part.mean(dim=1) for part in frames.chunk(parts, dim=1)], dim=1)
        torch.testing.assert_close(model.forward_features(clips), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.decode(model.encode(clips)), model(clips), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("levels", [1, 2, 3])
@pytest.mark.parametrize("backbone", ["", "timm:tf_efficientnet_lite0"])
def test_cells_of_levels_are_those_of_the_last_blocks_of_resolutions(backbone: str, levels: int) -> None:
    pytest.importorskip("timm")
    from kinema.models.tsn import TSNOptions

    torch.manual_seed(0)
    options: dict[str, Any] = {"backbone": backbone} if backbone else {"depth": 18, "width": 16}
    model = TSNOptions(pretrained="none", cells=(2, 3), cell_levels=levels, pool_parts=2, **options).build().eval()
    clips = torch.randint(0, 256, (2, 3, 2, 96, 96), dtype=torch.uint8)
    net: Any = model.backbone.network if backbone else model.backbone
    with torch.no_grad():
        x = model.segments(clips)
        if backbone:  # 96 px / 8, / 16 and / 32: timm's stages 2, 4 and 6
            x, maps = net.bn1(net.conv_stem(x)), []
            for stage in net.blocks:
                x = stage(x)
                maps.append(x)
            maps = [maps[2], maps[4], maps[6]]
        else:
            x, maps = net.maxpool(torch.relu(net.bn1(net.conv1(x)))), []
            for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
                x = stage(x, 1)
                maps.append(x)
        expected = []
        for each in maps[-levels:]:
            side, width = each.shape[2], each.shape[3] // 3
            for top, bottom in ((0, (side + 1) // 2), (side // 2, side)):  # as adaptive pooling has it
                for left in range(3):
                    cell = each[:, :, top:bottom, left * width : (left + 1) * width].mean(dim=(2, 3))
                    expected.append(torch.nn.functional.layer_norm(cell, cell.shape[1:]))
        torch.testing.assert_close(model.encode(clips).flatten(0, 1), torch.cat(expected, dim=1), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.decode(model.encode(clips)), model(clips), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 4])
def test_differences_are_those_of_adjacent_frames(frames: int) -> None:
    from kinema.models.tsn import TSNOptions

    torch.manual_seed(0)
    options: dict[str, Any] = {"depth": 18, "width": 16, "pretrained": "none", "cells": (1, 1), "num_classes": 3}
    model = TSNOptions(cell_differences=True, **options).build().eval()
    clips = torch.randint(0, 256, (2, 3, frames, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        maps = model.backbone(model.segments(clips)).unflatten(0, (2, frames))
        for clip, encoded in zip(maps, model.encode(clips), strict=True):
            for frame in range(frames):
                other = clip[frame - 1] if frame else clip[min(1, frames - 1)]
                means = clip[frame].mean(dim=(1, 2)), (clip[frame] - other).abs().mean(dim=(1, 2))
                expected = torch.cat([torch.nn.functional.layer_norm(mean, mean.shape) for mean in means])
                torch.testing.assert_close(encoded[frame], expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.decode(model.encode(clips)), model(clips), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="cell_differences is for cells"):
        TSNOptions(depth=18, cell_differences=True)


def test_levels_that_a_network_lacks_are_refused() -> None:
    from kinema.models.tsn import TSNOptions

    with pytest.raises(UserError, match=r"--model\.cell-levels 5: the backbone has 4 resolutions"):
        TSNOptions(depth=18, width=16, pretrained="none", cells=(2, 3), cell_levels=5).build()
    with pytest.raises(ValueError, match="cell_levels 2 is for cells"):
        TSNOptions(depth=18, cell_levels=2)


@pytest.mark.parametrize("levels", [1, 2])
def test_cells_are_explained(levels: int) -> None:
    from kinema.models.tsn import TSNOptions
    from kinema.report.explanation.heat import heat_of

    model = TSNOptions(depth=18, width=16, num_classes=4, pretrained="none", cells=(2, 3), cell_levels=levels).build()
    heat = heat_of(model.eval(), torch.randint(0, 256, (2, 3, 4, 96, 96), dtype=torch.uint8), target=1)
    assert heat.shape == (2, 4, 3 * levels, 3 * levels)
    assert heat.isfinite().all()
    assert heat.max() > 0


def test_cells_of_another_network_are_those_of_its_last_block() -> None:
    timm = pytest.importorskip("timm")
    from kinema.models.tsn import TSNOptions

    model = TSNOptions(backbone="timm:tf_efficientnet_lite0", pretrained="none", cells=(3, 3)).build().eval()
    assert model.fc.in_features == 9 * 320
    frames = torch.randn(2, 3, 96, 96)
    net = timm.create_model("tf_efficientnet_lite0", num_classes=0).eval()
    net.load_state_dict(model.backbone.network.state_dict())
    with torch.no_grad():
        expected = net.blocks(net.bn1(net.conv_stem(frames)))
        torch.testing.assert_close(model.backbone.maps(frames, model.levels)[0], expected)
    with pytest.raises(UserError, match="no map of channels"):
        TSNOptions(backbone="timm:vit_tiny_patch16_224", pretrained="none", cells=(3, 3)).build()
