"""What configurations beside weights say: taken over, or refused where no network of Kinema computes it."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from kinema.errors import UserError
from kinema.models.foreign import Source, foreign_state_dict
from kinema.models.i3d import I3DOptions
from kinema.models.tsm import TSMOptions
from kinema.models.tsn import TSNOptions
from kinema.tasks.models import load_model
from kinema.weights.convert import convert
from kinema.weights.find import find_model
from kinema.weights.fitting import disagreements, find_recipe, with_clips
from kinema.weights.foreign_configs import Trained, read_config
from kinema.weights.model_files import AnyDescription
from tests.weights.foreign_checkpoints import candidates, filled, tiny
from tests.weights.test_foreign_numbers import recorded


def config_of(tool: str, name: str) -> str:
    text: str = next(case["config"] for case in recorded(tool)["cases"] if case["name"] == name)
    return text


def pyslowfast(name: str, **changes: object) -> Trained:
    """What a configuration of PySlowFast's says, with some of its values changed: `SECTION__NAME`."""
    content: dict[str, Any] = yaml.safe_load(config_of("pyslowfast", name))
    for key, value in changes.items():
        section, option = key.split("__")
        content[section][option] = value
    return read_config(yaml.safe_dump(content), "pyslowfast", path="a.pyth")


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("i3d_r50_8x8", {"MODEL__ARCH": "c2d"}, "MODEL.ARCH c2d"),
        ("slow_r50_8x8", {"MODEL__ARCH": "slow_c2d"}, "MODEL.ARCH slow_c2d"),
        ("i3d_r50_8x8", {"MODEL__ARCH": "slow_i3d"}, "MODEL.ARCH slow_i3d"),
        ("slow_r50_8x8", {"MODEL__MODEL_NAME": "ContrastiveModel"}, "MODEL.MODEL_NAME ContrastiveModel"),
        ("slowfast_r50_8x8", {"DETECTION__ENABLE": True}, "DETECTION.ENABLE True"),
        ("slow_r50_8x8", {"RESNET__STRIDE_1X1": True}, "RESNET.STRIDE_1X1 True"),
        ("slow_r50_8x8", {"RESNET__SPATIAL_STRIDES": [[1], [2], [2], [1]]}, "RESNET.SPATIAL_STRIDES"),
        ("slow_r50_8x8", {"RESNET__SPATIAL_DILATIONS": [[1], [1], [1], [2]]}, "RESNET.SPATIAL_DILATIONS"),
        ("i3d_nln_r50_8x8", {"NONLOCAL__LOCATION": [[[]], [[]], [[1]], [[]]]}, "NONLOCAL.LOCATION"),
        ("i3d_nln_r50_8x8", {"NONLOCAL__POOL": [[[2, 2, 2]]] * 4}, "NONLOCAL.POOL"),
        ("i3d_nln_r50_8x8", {"NONLOCAL__GROUP": [[1], [1], [4], [1]]}, "NONLOCAL.GROUP"),
        ("slow_r50_8x8", {"NONLOCAL__LOCATION": [[[]], [[1, 3]], [[1, 3, 5]], [[]]]}, "NONLOCAL.LOCATION"),
    ],
)
def test_what_pyslowfast_computes_and_kinema_does_not_is_refused(
    name: str, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError, match=f"a.pyth cannot be converted: its own configuration says .*{said}"):
        pyslowfast(name, **changes)


NON_LOCAL = "i3d_r50_video_nl_embedded_gaussian_8x8x1_100e_kinetics400_rgb"


@pytest.mark.parametrize(
    ("trained", "recipe", "said"),
    [
        (pyslowfast("i3d_nln_dot_product_r50_8x8"), NON_LOCAL, "non_local is dot_product in the checkpoint"),
        (pyslowfast("i3d_nln_r50_8x8"), "i3d_r50_nl_embedded_gaussian_32x2x1_100e_kinetics400_rgb", "keeps all frames"),
        (Trained(), "i3d_r50_nl_embedded_gaussian_32x2x1_100e_kinetics400_rgb", "keeps all frames"),
        (pyslowfast("slowfast_r50_4x16"), "slowfast_r50_video_8x8x1_256e_kinetics400_rgb", "alpha is 8 in the"),
        (pyslowfast("slow_r50_8x8"), "i3d_r50_video_8x8x1_100e_kinetics400_rgb", "of a slowonly, the recipe of a i3d"),
    ],
)
def test_a_recipe_of_another_network_than_pyslowfasts_is_refused(trained: Trained, recipe: str, said: str) -> None:
    options = candidates(recipe)[recipe].model
    assert said in "; ".join(disagreements(options, "pyslowfast", trained))


@pytest.mark.parametrize("trained", [Trained(), pyslowfast("i3d_nln_r50_8x8")])
def test_pyslowfasts_non_local_i3d_has_its_recipe(trained: Trained) -> None:
    """With and without its configuration: the other recipes' networks have strides that PySlowFast's never has."""
    known = candidates(
        NON_LOCAL,
        "i3d_r50_nl_embedded_gaussian_32x2x1_100e_kinetics400_rgb",
        "i3d_r50_nl_dot_product_32x2x1_100e_kinetics400_rgb",
        "i3d_r50_video_8x8x1_100e_kinetics400_rgb",
    )
    with torch.device("meta"):
        options = I3DOptions(non_local="embedded_gaussian", non_local_form="pyslowfast")
        weights = foreign_state_dict(options.build(), source="pyslowfast")
    assert find_recipe(weights, known, source="pyslowfast", path="a.pyth", trained=trained) == NON_LOCAL
    del known[NON_LOCAL]
    with pytest.raises(UserError, match="no recipe's network computes what these weights are of"):
        find_recipe(weights, known, source="pyslowfast", path="a.pyth", trained=trained)


def test_clips_and_labels_are_the_checkpoints() -> None:
    recipe = "slowonly_r50_video_4x16x1_256e_kinetics400_rgb"
    described = with_clips(candidates(recipe)[recipe], pyslowfast("slow_r50_8x8", MODEL__HEAD_ACT="sigmoid"))
    for views in (described.data.val_views, described.data.test_views):
        assert (views.sampling.clip_len, views.sampling.frame_interval) == (8, 8)
    assert described.data.test_views.sampling.num_clips == 10
    assert described.task.labels == "multi"


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("kinetics", (64, 2, 10, False, True)),
        ("charades", (64, 2, 10, False, False)),
        ("ssv2", (1, 1, 64, True, False)),
    ],
)
def test_pyslowfasts_datasets_take_their_frames(dataset: str, expected: tuple[object, ...]) -> None:
    content: dict[str, Any] = yaml.safe_load(config_of("pyslowfast", "slowfast_r50_16x8"))
    text = yaml.safe_dump(content | {"TEST": {"DATASET": dataset}})
    recipe = "slowfast_r50_video_8x8x1_256e_kinetics400_rgb"
    described = with_clips(candidates(recipe)[recipe], read_config(text, "pyslowfast", path="a.pyth"))
    sampling = described.data.test_views.sampling
    assert expected == (
        sampling.clip_len, sampling.frame_interval, sampling.num_clips, sampling.joined, sampling.spread
    )  # fmt: skip


def mmaction2(name: str, *changes: tuple[str, str]) -> Trained:
    text = config_of("mmaction2_0x", name)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read_config(text, "mmaction2", path="a.pth")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("tsn_r50", ("type='ResNet'", "type='C2D'"), "Recognizer2D with backbone C2D"),
        ("tsm_r50", ("type='ResNetTSM'", "type='ResNetTIN'"), "backbone ResNetTIN"),
        ("tsm_r50", ("shift_div=8", "temporal_pool=True"), "temporal_pool True"),
        ("i3d_r50_32x2", ("type='Recognizer3D'", "neck=dict(type='TPN'), type='Recognizer3D'"), "neck TPN"),
        ("i3d_r50_32x2", ("norm_eval=False", "style='caffe'"), "style caffe"),
        ("i3d_r50_nl_dot_product", ("use_scale=False", "use_scale=True"), "non_local_cfg"),
        ("slowonly_r50_4x16", ("pool1_stride_t=1", "pool1_stride_t=2"), "pool1_stride_t 2"),
        ("slowfast_r50_8x8", ("resample_rate=4", "resample_rate=8"), "resample_rate 8"),
        ("r2plus1d_r34_8x8", ("eps=0.001", "eps=1e-5"), "norm_cfg.eps 1e-05"),
        ("r2plus1d_r34_8x8", ("temporal_strides=(1, 2, 2, 2)", "temporal_strides=(1, 1, 1, 1)"), "temporal_strides"),
        ("tsn_r50", ("to_bgr=False", "to_bgr=True"), "blue, green, red"),
    ],
)
def test_what_mmaction2_computes_and_kinema_does_not_is_refused(name: str, change: tuple[str, str], said: str) -> None:
    with pytest.raises(UserError, match=f"a.pth cannot be converted: its own configuration says .*{said}"):
        mmaction2(name, change)


@pytest.mark.parametrize("kind", ["dot_product", "embedded_gaussian"])
def test_mmaction2s_configuration_tells_networks_of_the_same_weights_apart(kind: str) -> None:
    known = candidates(
        "i3d_r50_nl_dot_product_32x2x1_100e_kinetics400_rgb", "i3d_r50_nl_embedded_gaussian_32x2x1_100e_kinetics400_rgb"
    )
    with torch.device("meta"):
        weights = foreign_state_dict(I3DOptions(non_local="dot_product").build(), source="mmaction2")
    with pytest.raises(UserError, match="fits 2 recipes"):
        find_recipe(weights, known, source="mmaction2", path="a.pth")
    found = find_recipe(weights, known, source="mmaction2", path="a.pth", trained=mmaction2(f"i3d_r50_nl_{kind}"))
    assert f"_nl_{kind}_" in found


def test_mmaction2s_shift_and_segments_are_read() -> None:
    trained = mmaction2("tsm_r50_16", ("shift_div=8", "shift_div=4"))
    assert disagreements(TSMOptions(shift_div=8), "mmaction2", trained) == [
        "shift_div is 4 in the checkpoint, 8 in the recipe"
    ]
    assert not disagreements(TSMOptions(shift_div=4), "mmaction2", trained)
    assert disagreements(TSNOptions(), "mmaction2", trained) == ["the checkpoint is of a tsm, the recipe of a tsn"]
    recipe = "tsm_r50_1x1x8_50e_kinetics400_rgb"
    assert with_clips(candidates(recipe)[recipe], trained).data.test_views.sampling.num_clips == 16


def test_mmaction2s_average_of_clips_is_read() -> None:
    recipe = "i3d_r50_32x2x1_100e_kinetics400_rgb"
    for average in ("prob", "score"):
        trained = mmaction2("i3d_r50_32x2", ("average_clips='prob'", f"average_clips='{average}'"))
        assert with_clips(candidates(recipe)[recipe], trained).task.average == average


def test_sampling_that_kinema_has_not_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = config_of("mmaction2", "tsm_r50").replace("'SampleFrames'", "'DenseSampleFrames'")
    known = tiny_checkpoint(tmp_path / "a.pth", meta={"cfg": text})
    convert(tmp_path / "a.pth", tmp_path / "out", known, source="mmaction2")
    assert "frames are taken by DenseSampleFrames" in caplog.text
    trained = mmaction2("tsm_r50_16", ("'SampleFrames'", "'DenseSampleFrames'"))
    dense = candidates("tsm_mobilenetv2_8x8_kinetics400")["tsm_mobilenetv2_8x8_kinetics400"]
    assert with_clips(dense, trained) == dense  # whose clips are those of the recipe, not segments


@pytest.mark.parametrize(
    ("file", "shift_div", "segments"),
    [
        ("TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment16_e50.pth", 8, 16),
        ("TSM_kinetics_RGB_resnet50_shift4_blockres_avg_segment8_e50.pth", 4, 8),
        ("ckpt.best.pth.tar", None, None),
    ],
)
def test_the_tsm_repositorys_file_names_are_read(file: str, shift_div: int | None, segments: int | None) -> None:
    trained = read_config("", "tsm", path=f"/runs/{file}")
    assert trained.options.get("shift_div") == shift_div
    assert trained.segments == segments


def test_a_configuration_is_not_run(tmp_path: Path) -> None:
    text = f"model = dict(type='TSN', x=__import__('os').mkdir({str(tmp_path / 'x')!r}))\n__import__('os').abort()"
    with pytest.raises(UserError, match="its own configuration says TSN"):
        read_config(text, "mmaction2", path="a.pth")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("source", ["mmaction2", "pyslowfast", "torchvision"])
@pytest.mark.parametrize("text", ["", "}{", "model = 3", "MODEL: [1]", "\x00", "model: {a: 1}", "a = (" * 500])
def test_a_configuration_that_says_nothing_is_left_aside(source: Source, text: str) -> None:
    assert read_config(text, source, path="a.pth") == Trained(spread=source == "pyslowfast")


def tiny_checkpoint(path: Path, **wrapper: object) -> dict[str, AnyDescription]:
    options = TSMOptions(depth=18, width=8, num_classes=3)
    torch.save({"state_dict": filled(options), **wrapper}, path)
    return tiny(options)


def test_the_configurations_normalisation_is_taken(tmp_path: Path) -> None:
    text = config_of("mmaction2", "tsm_r50").replace("123.675", "120.5")
    known = tiny_checkpoint(tmp_path / "a.pth", meta={"cfg": text})
    convert(tmp_path / "a.pth", tmp_path / "out", known, source="mmaction2")
    _, described = load_model(tmp_path / "out")
    assert described.model.mean == (120.5, 116.28, 103.53)


def test_the_way_to_convert_is_told_where_a_model_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "my file.pth"
    tiny_checkpoint(path)
    with pytest.raises(UserError, match=r"kinema convert '.*my file\.pth' --from mmaction2 --output '.*my file'"):
        find_model(path)
    path.write_text("no checkpoint")
    with pytest.raises(UserError, match=r"--from mmaction2\|pyslowfast\|tsm\|torchvision"):
        find_model(path)
