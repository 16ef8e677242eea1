"""X3D: sizes of the paper, names and settings of PySlowFast and pytorchvideo."""

from pathlib import Path

import pytest
import torch
import yaml

from kinema.errors import UserError
from kinema.models.complexity import complexity
from kinema.models.foreign import Source, foreign_names, foreign_state_dict
from kinema.models.x3d import X3DOptions
from kinema.recipes import build_model, config_of
from kinema.weights.foreign_configs import read_config
from tests.models import parity

SOURCES: dict[str, tuple[Source, bool]] = {"x3d_s": ("pytorchvideo", False), "x3d_s_pysf": ("pyslowfast", True)}


@pytest.mark.parametrize(
    ("recipe", "frames", "size", "gmacs"),
    [("x3d_s_13x6_kinetics400", 13, 160, 1.96), ("x3d_m_16x5_kinetics400", 16, 224, 4.73)],
)
def test_sizes_are_those_of_the_paper(recipe: str, frames: int, size: int, gmacs: float) -> None:
    """Multiply-adds of Tables 4 and 5; parameters of both published networks."""
    with torch.device("meta"):
        model = build_model(recipe)
    parameters, macs = complexity(model, (1, 3, frames, size, size))
    assert round(macs / 1e9, 2) == gmacs
    assert parameters == 3_794_274


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
    config = {"MODEL": model, "X3D": {"BN_LIN5": True}}
    with pytest.raises(UserError, match=r"X3D\.BN_LIN5 True"):
        read_config(yaml.safe_dump(config), "pyslowfast", path="a.pyth")


def test_the_recipes_classify_windows_of_the_training_crop() -> None:
    """In features of 32 pixels: 160 px of 182, 224 px of 256."""
    for recipe, window in (("x3d_s_13x6_kinetics400", 5), ("x3d_m_16x5_kinetics400", 7)):
        assert config_of(recipe, {}).model.window == window


def test_mmaction2_has_no_x3d() -> None:
    with pytest.raises(UserError, match="mmaction2 has no X3D; it can have those of pyslowfast, pytorchvideo"):
        foreign_names(X3DOptions().build(), "mmaction2")
