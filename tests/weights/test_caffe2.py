"""Caffe2's pickles of PySlowFast's model zoo: names, shapes, and that nothing but arrays is read."""

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kinema.errors import UserError
from kinema.models.foreign import foreign_misfits
from kinema.recipes import build_model
from kinema.weights.foreign_files import read_foreign_weights
from tests.models import parity

RECORDED = Path(__file__).parents[1] / "models" / "foreign_numbers" / "pyslowfast.json"

NAMES = {
    "conv1_w": "s1.pathway0_stem.conv.weight",
    "res_conv1_bn_riv": "s1.pathway0_stem.bn.running_var",
    "t_res_conv1_bn_s": "s1.pathway1_stem.bn.weight",
    "res4_0_branch1_w": "s4.pathway0_res0.branch1.weight",
    "res4_0_branch1_bn_rm": "s4.pathway0_res0.branch1_bn.running_mean",
    "res4_4_branch2c_bn_b": "s4.pathway0_res4.branch2.c_bn.bias",
    "t_res5_2_branch2b_w": "s5.pathway1_res2.branch2.b.weight",
    "t_pool1_subsample_w": "s1_fuse.conv_f2s.weight",
    "t_pool1_subsample_bn_s": "s1_fuse.bn.weight",
    "t_res4_5_branch2c_bn_subsample_w": "s4_fuse.conv_f2s.weight",
    "t_res4_5_branch2c_bn_subsample_bn_rm": "s4_fuse.bn.running_mean",
    "nonlocal_conv4_5_bn_s": "s4.pathway0_nonlocal5.bn.weight",
    "nonlocal_conv3_1_theta_w": "s3.pathway0_nonlocal1.conv_theta.weight",
    "nonlocal_conv3_1_out_b": "s3.pathway0_nonlocal1.conv_out.bias",
    "pred_w": "head.projection.weight",
    "pred_b": "head.projection.bias",
}
"""As PySlowFast's converter maps them."""

_LEAVES = {"weight": "w", "bias": "b", "running_mean": "rm", "running_var": "riv"}
_PATTERNS: tuple[tuple[str, str], ...] = (
    (r"s1_fuse\.conv_f2s", "t_pool1_subsample"),
    (r"s1_fuse\.bn", "t_pool1_subsample_bn"),
    (r"s(\d)_fuse\.conv_f2s", r"t_res\1_9_branch2c_bn_subsample"),
    (r"s(\d)_fuse\.bn", r"t_res\1_9_branch2c_bn_subsample_bn"),
    (r"s1\.pathway0_stem\.conv", "conv1"),
    (r"s1\.pathway1_stem\.conv", "t_conv1"),
    (r"s1\.pathway0_stem\.bn", "res_conv1_bn"),
    (r"s1\.pathway1_stem\.bn", "t_res_conv1_bn"),
    (r"s(\d)\.pathway0_nonlocal(\d)\.(?:conv_)?(\w+)", r"nonlocal_conv\1_\2_\3"),
    (r"s(\d)\.pathway0_res(\d+)\.branch(\d)\.?(\w*)", r"res\1_\2_branch\3\4"),
    (r"s(\d)\.pathway1_res(\d+)\.branch(\d)\.?(\w*)", r"t_res\1_\2_branch\3\4"),
    (r"head\.projection", "pred"),
)


def blob_of(key: str) -> str:
    """The name that Caffe2 has for PySlowFast's key."""
    module, _, leaf = key.rpartition(".")
    name = next(re.sub(pattern, blob, module) for pattern, blob in _PATTERNS if re.fullmatch(pattern, module))
    return f"{name}_{'s' if name.endswith('bn') and leaf == 'weight' else _LEAVES[leaf]}"


def write(path: Path, blobs: dict[str, Any], protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps({"blobs": blobs}, protocol))
    return path


def test_names(tmp_path: Path) -> None:
    blobs = {blob: np.full(3, index, np.float32) for index, blob in enumerate(NAMES)}
    state = {"model_iter": np.int64(3), "lr": np.float32(0.1), "conv1_w_momentum": np.zeros(3, np.float32)}
    weights = read_foreign_weights(write(tmp_path / "a.pkl", {**blobs, **state}))
    assert {key: int(value.flatten()[0]) for key, value in weights.items()} == {
        key: index for index, key in enumerate(NAMES.values())
    }


@pytest.mark.parametrize(
    ("network", "recipe", "protocol"),
    [
        ("slowfast_r50_8x8", "slowfast_r50_video_8x8x1_256e_kinetics400_rgb", 2),
        ("i3d_nln_r50_8x8", "i3d_r50_video_nl_embedded_gaussian_8x8x1_100e_kinetics400_rgb", 0),
        ("slow_r50_4x16", "slowonly_r50_video_4x16x1_256e_kinetics400_rgb", 4),
    ],
)
def test_every_weight_of_a_network(tmp_path: Path, network: str, recipe: str, protocol: int) -> None:
    """Whose keys are PySlowFast's own; Caffe2 leaves out the dimensions of a 1×1×1 convolution."""
    shapes = parity.expanded(json.loads(RECORDED.read_text())["keys"][network])
    expected = {key: value for key, value in parity.state_dict(shapes).items() if "num_batches" not in key}
    blobs = {blob_of(key): value.numpy() for key, value in expected.items()}
    for name, blob in blobs.items():
        if name.startswith("nonlocal") and blob.ndim == 5:
            blobs[name] = blob.reshape(blob.shape[:2])
    found = read_foreign_weights(write(tmp_path / "c2.pkl", blobs, protocol))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    values = {"model.num_classes": 11, "model.width": 16, "model.lateral_norm": True}
    if not network.startswith("slowfast"):
        del values["model.lateral_norm"]
    with torch.device("meta"):
        model = build_model(recipe, values)
    assert foreign_misfits(model, found, source="pyslowfast") == []


class Calling:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.parts = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.parts


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("blob", "said"),
    [
        (Calling(os.mkdir, "created"), "posix.mkdir"),
        (Calling(eval, "__import__('os').mkdir('created')"), "eval"),
        (Calling(np.load, "created"), "numpy"),
        (np.array([Calling(os.mkdir, "created")], dtype=object), "posix.mkdir"),
        (np.array([{}], dtype=object), "without arrays"),
        ("text", "without arrays"),
    ],
)
def test_nothing_but_arrays_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blob: Any, said: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "evil.pkl", {"conv1_w": np.zeros(3, np.float32), "res_conv1_bn_riv": blob}, protocol)
    with pytest.raises(UserError, match=said):
        read_foreign_weights(path)
    assert not (tmp_path / "created").exists()


def test_blobs_of_other_networks_are_named(tmp_path: Path) -> None:
    """Such as those of Detectron's zoo."""
    path = write(tmp_path / "d.pkl", {"conv1_w": np.zeros(3, np.float32), "fpn_inner_res2_w": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match=r"1 blobs that PySlowFast's ResNets have not \(fpn_inner_res2_w\)"):
        read_foreign_weights(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pkl", {"conv1_w": np.zeros(300, np.float32)})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UserError, match="pickle of Caffe2's that is refused"):
        read_foreign_weights(path)
