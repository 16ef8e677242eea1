"""X3D: sizes of the paper, names and settings of PySlowFast and pytorchvideo."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from pytorchvideo.models.x3d import create_x3d
from torch import nn

from kinema.errors import UserError
from kinema.models.complexity import complexity
from kinema.models.foreign import Source, foreign_names, foreign_state_dict, load_foreign_state_dict
from kinema.models.x3d import X3DOptions
from kinema.recipes import build_model, config_of
from kinema.weights.foreign_configs import read_config
from tests.models import parity

SOURCES: dict[str, tuple[Source, bool]] = {"x3d_s": ("pytorchvideo", False), "x3d_s_pysf": ("pyslowfast", True)}


@pytest.mark.parametrize(
    ("recipe", "frames", "size", "gmacs", "millions"),
    [
        ("x3d_xs_4x12_kinetics400", 4, 160, 0.60, 3.79),
        ("x3d_s_13x6_kinetics400", 13, 160, 1.96, 3.79),
        ("x3d_m_16x5_kinetics400", 16, 224, 4.73, 3.79),
        ("x3d_l_16x5_kinetics400", 16, 312, 18.37, 6.15),
    ],
)
def test_sizes_are_those_of_the_paper(recipe: str, frames: int, size: int, gmacs: float, millions: float) -> None:
    """Multiply-adds and parameters of Tables 3 to 5."""
    with torch.device("meta"):
        model = build_model(recipe)
    parameters, macs = complexity(model, (1, 3, frames, size, size))
    assert macs / 1e9 == pytest.approx(gmacs, abs=0.01)
    assert parameters / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(
    ("recipe", "depth_factor"), [("x3d_xs_4x12_kinetics400", 2.2), ("x3d_l_16x5_kinetics400", 5.0)]
)
def test_scores_loss_and_gradients_are_pytorchvideos(recipe: str, depth_factor: float) -> None:
    """On 4 frames of 64 px, for which its pool is built, in float64."""
    torch.manual_seed(0)
    theirs: Any = create_x3d(
        input_clip_length=4, input_crop_size=64, depth_factor=depth_factor, dropout_rate=0, head_activation=None
    ).double()
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm3d):
            nn.init.normal_(layer.weight, 1, 0.1)  # zero at the end of each block
    ours: Any = build_model(recipe, {"model.dropout": 0.0, "model.window": 0}).double()
    load_foreign_state_dict(ours, theirs.state_dict(), source="pytorchvideo")
    clips = torch.randn(2, 3, 4, 64, 64, dtype=torch.float64)
    outcomes = []
    for model in (theirs, ours):
        logits = model.eval()(clips)
        loss = F.cross_entropy(model.train()(clips), torch.tensor([3, 10]))
        loss.backward()
        outcomes.append((logits, loss))
    torch.testing.assert_close(outcomes[1], outcomes[0], rtol=1e-9, atol=1e-9)
    names = foreign_names(ours, "pytorchvideo")
    expected = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        gradient = expected[names[key]].grad
        assert (parameter.grad - gradient).norm() <= 1e-8 * gradient.norm() + 1e-12, key


@pytest.mark.parametrize("name", SOURCES)
def test_every_key_has_its_place(shared: Path, name: str) -> None:
    source, shortcut_norm = SOURCES[name]
    with torch.device("meta"):
        model = X3DOptions(shortcut_norm=shortcut_norm).build()
    names = foreign_names(model, source)
    shapes = {names[key]: list(value.shape) for key, value in model.state_dict().items()}
    assert shapes == parity.keys(shared, name).shapes


def test_pyslowfasts_shortcut_is_told_by_the_weights() -> None:
    with torch.device("meta"):
        given = X3DOptions(shortcut_norm=True, num_classes=7).build()
    weights = foreign_state_dict(given, source="pyslowfast")
    options = X3DOptions().of_source(weights, "pyslowfast")
    assert (options.shortcut_norm, options.num_classes) == (True, 7)
    assert options.mean == pytest.approx((114.75, 114.75, 114.75))
    weights = foreign_state_dict(X3DOptions().build(), source="pytorchvideo")
    assert X3DOptions(shortcut_norm=True).of_source(weights, "pytorchvideo") == X3DOptions().of_source(
        weights, "pytorchvideo"
    )


def test_pyslowfasts_configuration_is_read() -> None:
    model = {"ARCH": "x3d", "MODEL_NAME": "X3D"}
    data = {"NUM_FRAMES": 13, "SAMPLING_RATE": 6, "TRAIN_CROP_SIZE": 160}
    trained = read_config(yaml.safe_dump({"MODEL": model, "DATA": data}), "pyslowfast", path="a.pyth")
    assert (trained.network, trained.clip, trained.taken["window"]) == ("x3d", (13, 6), 5)
    trained = read_config(
        yaml.safe_dump({"MODEL": model, "DATA": {"TRAIN_CROP_SIZE": 312}}), "pyslowfast", path="a.pyth"
    )
    assert trained.taken["window"] == 10
    config = {"MODEL": model, "X3D": {"BN_LIN5": True}}
    with pytest.raises(UserError, match=r"X3D\.BN_LIN5 True"):
        read_config(yaml.safe_dump(config), "pyslowfast", path="a.pyth")


def test_the_recipes_classify_windows_of_the_training_crop() -> None:
    """In features of 32 pixels: 160 px of 182, 224 px of 256, 312 px of 356."""
    windows = {"xs_4x12": 5, "s_13x6": 5, "m_16x5": 7, "l_16x5": 10}
    for recipe, window in ((f"x3d_{name}_kinetics400", window) for name, window in windows.items()):
        assert config_of(recipe, {}).model.window == window


def test_mmaction2_has_no_x3d() -> None:
    with pytest.raises(UserError, match="mmaction2 has no X3D; it can have those of pyslowfast, pytorchvideo"):
        foreign_names(X3DOptions().build(), "mmaction2")
