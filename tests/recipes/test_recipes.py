"""Every recipe: complete, re-readable, trainable; and those of the spec as it says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from kinema.config import apply, dump, leaves, read
from kinema.errors import UserError
from kinema.models.complexity import complexity
from kinema.models.transformer import TransformerOptions
from kinema.recipes import RECIPES, RECOGNIZERS, build_model, config_of, find_recipe
from kinema.training import SGD, CosineSchedule, StepSchedule

every_recipe = pytest.mark.parametrize("name", RECIPES)
every_recognizer = pytest.mark.parametrize("name", RECOGNIZERS)


def narrow(name: str) -> Any:
    """The config of a recipe, with a narrow network, of a transformer a few blocks on clips of 64 px."""
    config = config_of(name)
    if isinstance(config.model, TransformerOptions):
        frozen = min(config.model.frozen_stages, 2)
        config.model = replace(config.model, size=64, patch=16, width=48, depth=2, heads=2, frozen_stages=frozen)
    elif hasattr(config.model, "depths"):
        config.model = replace(config.model, width=32, depths=(1, 1, 1, 1), drop_path=0.0)
    elif not name.startswith(("x3d", "s3d")) and not getattr(config.model, "backbone", ""):
        config.model = replace(config.model, width=16, pretrained="none")
    return config


# Recipes that differ in what a model is trained on and how, not in the model and its input, share one of these.
every_model = pytest.mark.parametrize(
    "name",
    {
        f"{replace(config.model, num_classes=5)} {config.data.train_clip.sampling.frames}": name
        for name, config in ((n, narrow(n)) for n in RECOGNIZERS)
    }.values(),
)


@every_recipe
def test_config_yaml_gives_the_recipe_back(name: str, tmp_path: Path) -> None:
    key = next(
        (key for key in leaves(config_of(name)) if key.endswith("optim.lr")), "candidates.generation.peak_threshold"
    )
    config = config_of(name, {key: "0.123"})
    path = tmp_path / "config.yaml"
    path.write_text(dump(config, recipe=config.recipe))
    recipe, values = read(path)
    assert recipe == name
    again = apply(find_recipe(name)(), values)
    again.recipe = name
    assert again == config
    assert dump(again, recipe=name) == path.read_text()


@every_recognizer
def test_recipes_share_nothing_that_a_variant_could_change(name: str) -> None:
    """A variant edits what it gets from another recipe: validation must not change when testing does."""
    config = RECIPES[name]()
    parts = [config.data.val_views, config.data.test_views, config.data.train_clip]
    inner = [part for whole in parts for part in vars(whole).values()]
    assert len({id(part) for part in parts + inner}) == len(parts + inner)
    assert config == RECIPES[name]()


@every_model
def test_one_step_lowers_the_loss_on_its_batch(name: str) -> None:
    config = narrow(name)
    torch.manual_seed(0)
    model = config.model.build().train()
    for module in model.modules():
        if type(module).__name__ in ("Dropout", "StochasticDepth"):  # torchvision's or Kinema's
            module.p = 0.0
    channels = 2 if config.data.source == "flow" else 3
    clips = torch.randint(0, 256, (2, channels, config.data.train_clip.sampling.frames, 64, 64), dtype=torch.uint8)
    labels = torch.tensor([1, 3])
    # torchvision initializes S3D with small weights, whose batch norm makes gradients large.
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6 if name.startswith("s3d") else 1e-3)
    losses = []
    for _ in range(2):
        logits = model(clips)
        assert logits.shape == (2, config.model.num_classes)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[1] < losses[0]


@every_recognizer
def test_views_and_clips_fit_the_model(name: str) -> None:
    """What is trained, validated and tested has as many frames as the model takes: any number for TSN and S3D only."""
    config = config_of(name)
    frames = {views.sampling.frames for views in (config.data.train_clip, config.data.val_views)}
    assert len(frames) == 1
    assert config.data.test_views.sampling.frames in frames or name.startswith(("tsn", "s3d"))
    with torch.device("meta"):
        model = build_model(name)
    assert model.head.out_features == config.model.num_classes
    assert model.input.frames in (None, *frames)
    crops = (config.data.train_clip.crop.size, config.data.val_views.crops.size, config.data.test_views.crops.size)
    assert model.input.size is None or set(crops) == {model.input.size}


# Parameters and GMACs (half the table's FLOPs) of the reference implementations, see the spec's table of peers.
@pytest.mark.parametrize(
    ("name", "millions", "gmacs"),
    [
        ("tsn_r50_1x1x3_100e_kinetics400_rgb", 24.33, 24.5 / 2),
        ("tsn_r50_video_1x1x3_100e_kinetics400_rgb", 24.33, 24.5 / 2),
        ("tsm_r50_1x1x8_50e_kinetics400_rgb", 24.33, 65.4 / 2),
        ("i3d_r50_32x2x1_100e_kinetics400_rgb", 28.04, 66.3 / 2),
        ("i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb", 33.02, 63.4 / 2),
        ("i3d_r50_video_8x8x1_100e_kinetics400_rgb", 28.04, 56.8 / 2),
        ("slowonly_r50_video_4x16x1_256e_kinetics400_rgb", 32.45, 41.7 / 2),
        ("slowfast_r50_video_4x16x1_256e_kinetics400_rgb", 34.48, 55.3 / 2),
        ("r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb", 63.76, 81.1 / 2),
    ],
)
def test_size_is_the_references(name: str, millions: float, gmacs: float) -> None:
    config = config_of(name)
    size = config.data.train_clip.crop.size
    parameters, macs = complexity(config.model.build(), (1, 3, config.data.train_clip.sampling.frames, size, size))
    assert parameters / 1e6 == pytest.approx(millions, abs=0.006)
    assert macs / 1e9 == pytest.approx(gmacs, abs=0.06)


@pytest.mark.parametrize("name", ["tsn_r50_1x1x3_100e_kinetics400_rgb", "tsn_r50_video_1x1x3_100e_kinetics400_rgb"])
def test_tsn_is_trained_as_the_spec_says(name: str) -> None:
    config = config_of(name)
    assert (config.data.batch_size, config.optim.lr, config.optim.lr_batch) == (32, 0.01, 32 * 8)
    assert isinstance(config.optim, SGD)
    assert (config.optim.momentum, config.optim.weight_decay, config.optim.clip_norm) == (0.9, 1e-4, 40)
    assert isinstance(config.schedule, StepSchedule)
    assert (config.schedule.epochs, config.schedule.milestones) == (100, (40, 80))
    assert (config.model.dropout, config.model.init_std, config.data.train_clip.sampling.num_clips) == (0.4, 0.01, 3)
    assert config.data.test_views.sampling.num_clips == 25
    assert config.data.source == ("video" if "video" in name else "rawframes")
    expected = ("three", 256, 256) if "video" in name else ("ten", 256, 224)
    crops = config.data.test_views.crops
    assert (crops.crops, crops.short_side, crops.size) == expected


def test_tsm_is_trained_as_the_spec_says() -> None:
    config = config_of("tsm_r50_1x1x8_50e_kinetics400_rgb")
    assert (config.data.batch_size, config.optim.lr, config.optim.lr_batch) == (8, 0.01, 8 * 8)
    assert (config.optim.head_weight_lr, config.optim.head_bias_lr, config.optim.decay_norm_and_bias) == (5, 10, False)
    assert config.optim.clip_norm == 20
    assert isinstance(config.schedule, StepSchedule)
    assert (config.schedule.epochs, config.schedule.milestones) == (50, (20, 40))
    assert config.model.init_std == 0.001
    assert config.data.test_views.sampling.num_clips == 8
    assert config.data.test_views.crops.crops == "center"


@pytest.mark.parametrize(
    ("name", "lr", "epochs", "warmup", "test_clips"),
    [
        ("slowonly_r50_video_4x16x1_256e_kinetics400_rgb", 0.1, 256, 0, (10, 4, 16)),
        ("slowfast_r50_video_4x16x1_256e_kinetics400_rgb", 0.1, 256, 34, (10, 32, 2)),
        ("r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb", 0.1, 180, 0, (10, 8, 8)),
        ("i3d_r50_32x2x1_100e_kinetics400_rgb", 0.01, 100, 0, (10, 32, 2)),
        ("i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb", 0.01, 100, 0, (10, 8, 8)),
    ],
)
def test_3d_models_are_trained_as_the_spec_says(
    name: str, lr: float, epochs: int, warmup: float, test_clips: tuple[int, int, int]
) -> None:
    config = config_of(name)
    assert (config.data.batch_size, config.optim.lr, config.optim.lr_batch, config.optim.clip_norm) == (8, lr, 64, 40)
    assert (config.schedule.epochs, config.schedule.warmup_epochs) == (epochs, warmup)
    assert isinstance(config.schedule, StepSchedule if name.startswith("i3d") else CosineSchedule)
    sampling, crops = config.data.test_views.sampling, config.data.test_views.crops
    assert (sampling.num_clips, sampling.clip_len, sampling.frame_interval) == test_clips
    assert (crops.crops, crops.short_side, crops.size, config.task.average) == ("three", 256, 256, "prob")


# From the reference's configs of the same names: classes, videos per process, rate, decay, norm, epochs, milestones.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tsn_r50_1x1x3_75e_ucf101_rgb", (101, 32, 0.00128, 5e-4, 40, 75, ())),
        ("tsn_r50_1x1x3_110e_kinetics400_flow", (400, 32, 0.005, 1e-4, 40, 110, (70, 100))),
        ("tsn_r50_1x1x8_50e_hmdb51_rgb", (51, 32, 0.025, 1e-4, 40, 50, (20, 40))),
        ("tsn_r50_1x1x8_50e_sthv1_rgb", (174, 16, 0.02, 5e-4, 20, 50, (20, 40))),
        ("tsn_r50_1x1x8_50e_sthv2_rgb", (174, 16, 0.02, 1e-4, 40, 50, (20, 40))),
        ("tsm_r50_1x1x16_50e_kinetics400_rgb", (400, 6, 0.0075, 1e-4, 20, 50, (20, 40))),
        ("tsm_r50_1x1x8_25e_ucf101_rgb", (101, 12, 0.0015, 1e-4, 20, 25, (10, 20))),
        ("tsm_r50_1x1x8_25e_hmdb51_rgb", (51, 12, 0.0015, 1e-4, 20, 25, (10, 20))),
        ("tsm_r50_1x1x8_50e_sthv1_rgb", (174, 8, 0.01, 5e-4, 20, 50, (20, 40))),
        ("tsm_r50_1x1x8_50e_sthv2_rgb", (174, 6, 0.0075, 5e-4, 20, 50, (20, 40))),
        ("tsm_r50_1x1x16_50e_sthv2_rgb", (174, 6, 0.0075, 5e-4, 20, 50, (20, 40))),
        ("slowonly_r50_8x4x1_40e_ucf101_rgb", (101, 8, 0.001, 1e-4, 20, 40, (15, 30))),
        ("slowonly_r50_8x4x1_40e_hmdb51_rgb", (51, 8, 0.001, 1e-4, 20, 40, (15, 30))),
        ("slowfast_r50_16x8x1_22e_sthv1_rgb", (174, 4, 0.06, 1e-6, 40, 22, (14, 18))),
    ],
)
def test_other_datasets_are_trained_as_the_reference_says(name: str, expected: tuple[object, ...]) -> None:
    config = config_of(name)
    lr = config.optim.lr * 8 * config.data.batch_size / config.optim.lr_batch  # on 8 processes
    assert isinstance(config.schedule, StepSchedule)
    assert (
        config.model.num_classes, config.data.batch_size, pytest.approx(lr), config.optim.weight_decay,
        config.optim.clip_norm, config.schedule.epochs, config.schedule.milestones,
    ) == expected  # fmt: skip


# PySlowFast's configs X3D_XS, X3D_L and MVITv2_S_16x4, Video Swin's section 4.1, torchvision's README of S3D, TSM's
# section 5.1: videos of a step, rate, decay, epochs, warm-up, clips and crops of a test.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x3d_xs_4x12_kinetics400", (128, 0.1, 5e-5, 300, 35, (10, 4, 12), ("three", 182, 182))),
        ("x3d_l_16x5_kinetics400", (64, 0.05, 5e-5, 256, 35, (10, 16, 5), ("three", 356, 356))),
        ("mvitv2_s_16x4_kinetics400", (16, 1e-4, 0.05, 200, 30, (5, 16, 4), ("center", 256, 224))),
        ("swin3d_t_32x2_kinetics400", (64, 3e-5, 0.02, 30, 2.5, (4, 32, 2), ("three", 224, 224))),
        ("swin3d_s_32x2_kinetics400", (64, 3e-5, 0.02, 30, 2.5, (4, 32, 2), ("three", 224, 224))),
        ("swin3d_b_32x2_kinetics400", (64, 3e-5, 0.05, 30, 2.5, (4, 32, 2), ("three", 224, 224))),
        ("s3d_64x2_kinetics400", (768, 0.2, 1e-4, 225, 50, (1, 128, 2), ("center", 256, 224))),
        ("tsm_mobilenetv2_8x8_kinetics400", (64, 0.01, 1e-4, 100, 0, (10, 8, 8), ("three", 256, 256))),
    ],
)
def test_further_families_are_trained_as_published(name: str, expected: tuple[object, ...]) -> None:
    config = config_of(name)
    sampling, crops = config.data.test_views.sampling, config.data.test_views.crops
    assert (
        config.optim.lr_batch, config.optim.lr, config.optim.weight_decay, config.schedule.epochs,
        config.schedule.warmup_epochs, (sampling.num_clips, sampling.clip_len, sampling.frame_interval),
        (crops.crops, crops.short_side, crops.size),
    ) == expected  # fmt: skip


@pytest.mark.parametrize("name", [name for name in RECIPES if "_sthv" in name])
def test_something_something_is_never_mirrored_without_its_label(name: str) -> None:
    crop = config_of(name).data.train_clip.crop
    if not crop.flip:
        return
    pairs = crop.flip_pairs
    mirrored = {frozenset(map(int, pair.split(":"))) for pair in pairs}
    expected = {(2, 4), (30, 41), (52, 66)} if "_sthv1_" in name else {(86, 87), (93, 94), (166, 167)}
    assert mirrored == set(map(frozenset, expected))


def test_keys_are_spelled_as_in_python_or_as_on_the_command_line() -> None:
    name = "tsm_r18_video_1x1x8_sample_rgb"
    assert config_of(name, {"data.batch-size": 3}) == config_of(name, {"data.batch_size": 3})


def test_a_fault_in_ones_own_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from kinema.recipes.tsn import tsn_r50_1x1x3_100e_kinetics400_rgb\n\n"
        "def wrong():\n    config = tsn_r50_1x1x3_100e_kinetics400_rgb()\n    config.optim.lr = -1\n    return config\n"
    )
    with pytest.raises(UserError, match=r"optim\.lr"):
        config_of(f"{tmp_path / 'mine.py'}:wrong")
    with pytest.raises(UserError, match="did you mean 'wrong'"):
        config_of(f"{tmp_path / 'mine.py'}:worng")
    with pytest.raises(UserError, match="no file"):
        config_of(f"{tmp_path / 'yours.py'}:wrong")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_can_be_tried_for_an_epoch(name: str) -> None:
    """Its warm-up is shortened to a tenth, so that the rate still reaches its height."""
    config = config_of(name)
    if hasattr(config, "schedule"):
        schedule = config_of(name, {"schedule.epochs": "1"}).schedule
        assert schedule.warmup == (schedule.warmup_epochs if schedule.warmup_epochs < 1 else 0.1)
