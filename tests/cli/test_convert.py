"""`kinema convert` as a user runs it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from kinema.cli import main
from kinema.models.foreign import foreign_state_dict
from kinema.models.tsm import TSMOptions
from kinema.recipes import RECIPES, build_model
from kinema.tasks.models import load_model

RECIPE = '''
"""A small network of my own."""
from kinema.models.tsm import TSMOptions
from kinema.recipes.tsm import tsm_r18_video_1x1x8_small_rgb

def mine():
    config = tsm_r18_video_1x1x8_small_rgb()
    config.model = TSMOptions(depth=18, width=8)
    return config
'''


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "recipes.py").write_text(RECIPE)
    return f"{tmp_path / 'recipes.py'}:mine"


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """A folder of images, the frames of a video."""
    folder = tmp_path / "video"
    folder.mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"{i:03}.jpg")
    return folder


PRETRAINING = '''
"""The pre-training of a small network of my own."""
from dataclasses import replace
from kinema.recipes.videomae_pretraining import videomae_s_16x4_pretrain_small

def mine():
    config = videomae_s_16x4_pretrain_small()
    sizes = dict(frames=4, size=32, patch=8, width=24, depth=3, heads=3, decoder_width=12, decoder_heads=2)
    config.model = replace(config.model, **sizes)
    return config
'''


def test_the_network_of_a_pre_training_keeps_its_decoder(tmp_path: Path) -> None:
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    config = VideoMAEConfig(
        image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=3, num_attention_heads=3,
        intermediate_size=96, decoder_hidden_size=12, decoder_num_hidden_layers=2, decoder_num_attention_heads=2,
        decoder_intermediate_size=48, use_mean_pooling=False,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = VideoMAEForPreTraining(config)
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    (tmp_path / "pretraining.py").write_text(PRETRAINING)
    arguments = ["convert", str(tmp_path / "theirs.safetensors"), "--from", "transformers", "--output"]
    own = f"{tmp_path / 'pretraining.py'}:mine"
    assert main([*arguments, str(tmp_path / "model"), "--recipe", own]) == 0
    module, described = load_model(tmp_path / "model")
    assert described.recipe == own
    weights = foreign_state_dict(module, source="transformers")
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(weights.pop(name), value)
    assert not [*weights]


def test_a_converted_model_predicts_and_goes_back(
    tmp_path: Path, recipe: str, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    weights = foreign_state_dict(TSMOptions(depth=18, width=8, num_classes=3).build(), source="mmaction2")
    checkpoint, model, back = tmp_path / "best.pth", tmp_path / "model", tmp_path / "back.pth"
    torch.save({"meta": {"epoch": 9}, "state_dict": weights}, checkpoint)
    (tmp_path / "classes.txt").write_text("run\njump\nsit\n")
    arguments = ["--from", "mmaction2", "--recipe", recipe, "--classes", str(tmp_path / "classes.txt")]
    assert main(["convert", str(checkpoint), *arguments, "--output", str(model)]) == 0
    assert capsys.readouterr().out == ""

    assert main(["predict", str(model), str(frames), "--json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert {one["label"] for one in answer["predictions"]} == {"run", "jump", "sit"}
    assert sum(one["score"] for one in answer["predictions"]) == pytest.approx(1)

    assert main(["convert", str(model), "--to", "mmaction2", "--output", str(back)]) == 0
    found = torch.load(back, weights_only=True)["state_dict"]
    assert all(torch.equal(found.pop(key), value) for key, value in weights.items())
    assert not found


def test_the_recipe_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torchvision.models.get_model("mc3_18").state_dict(), tmp_path / "mc3_18.pth")
    arguments = ["convert", str(tmp_path / "mc3_18.pth"), "--from", "torchvision", "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    content = json.loads((tmp_path / "out" / "model.json").read_text())
    assert content["recipe"] == "mc3_18_video_16x2x1_225e_kinetics400_rgb"
    assert content["classes"][:2] == ["abseiling", "air drumming"]
    said = capsys.readouterr().err
    assert "recipe: mc3_18_video_16x2x1_225e_kinetics400_rgb" in said
    assert "class names: Kinetics-400's" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--from TOOL for another"),
        (["--from", "tsm", "--to", "mmaction2"], "--from TOOL for another"),
        (["--from", "mmaction2"], "none.pth does not exist"),
        (["--to", "mmaction2"], "none.pth does not exist"),
        (["--from", "mmaction2", "--recipe", "tsn_r50_1x1x3_100e_kinetics400"], "did you mean 'tsn_r50_1x1x3_100e_kin"),
    ],
)
def test_faults_exit_with_2(
    tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(tmp_path / "none.pth"), *arguments, "--output", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_table_of_checkpoints_names_recipes_that_there_are() -> None:
    text = (Path(__file__).parents[2] / "docs" / "checkpoints.md").read_text()
    named = re.findall(r"^\| `(\w+)`", text, re.MULTILINE)
    assert len(named) > 30
    assert not set(named) - set(RECIPES)
    for name, address in re.findall(r"\[(\S+)\]\((?!\w+\.md)(\S+)\)", text):  # of other sites
        assert address.startswith("https://")
        assert address.endswith(f"/{name}")


@pytest.mark.parametrize(
    "recipe",
    [
        "bmn_400x100_2x8_9e_activitynet_feature",
        "bsn_tem_400x100_1x16_20e_activitynet_feature",
        "bsn_pem_400x100_1x16_20e_activitynet_feature",
    ],
)
def test_localizers_there_and_back(recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = foreign_state_dict(build_model(recipe), source="mmaction2")
    torch.save({"meta": {}, "state_dict": weights}, tmp_path / "theirs.pth")
    convert = ["convert", str(tmp_path / "theirs.pth"), "--from", "mmaction2", "--output", str(tmp_path / "model")]
    assert main(convert) == 0
    assert f"recipe: {recipe}" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "model"), "--to", "mmaction2", "--output", str(tmp_path / "back.pth")]) == 0
    back = torch.load(tmp_path / "back.pth", weights_only=True)["state_dict"]
    assert all(torch.equal(back[name], value) for name, value in weights.items())
    del weights[next(iter(weights))]
    torch.save({"state_dict": weights}, tmp_path / "theirs.pth")
    assert main([*convert, "--recipe", recipe]) == 2
    assert "--allow-missing" in capsys.readouterr().err
