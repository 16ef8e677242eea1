"""torchvision's video models under Kinema's recipes: the same logits, the same pictures."""

import pytest
import torch
import torchvision
from torch import nn
from torchvision.transforms import v2

from kinema.data.crops import crop_views
from kinema.models.foreign import load_foreign_state_dict
from kinema.models.recognizer import Normalize
from kinema.recipes import config_of

RECIPES = {name: f"{name}_video_16x2x1_225e_kinetics400_rgb" for name in ("r2plus1d_18", "r3d_18", "mc3_18")}
every_model = pytest.mark.parametrize("name", RECIPES)


def weights_of(name: str) -> torchvision.models.Weights:
    return torchvision.models.get_model_weights(name)["KINETICS400_V1"]


@every_model
def test_computes_torchvisions_logits(name: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name).eval()
    nn.init.normal_(theirs.fc.weight, std=0.1)
    ours = config_of(RECIPES[name]).model.build().eval()
    load_foreign_state_dict(ours, theirs.state_dict(), source="torchvision")
    clips = torch.randn(2, 3, 16, 48, 48)
    with torch.inference_mode():
        torch.testing.assert_close(ours(clips), theirs(clips), rtol=1e-5, atol=1e-5)


@every_model
def test_has_as_many_weights_as_the_published_one(name: str) -> None:
    with torch.device("meta"):
        model = config_of(RECIPES[name]).model.build()
    assert sum(parameter.numel() for parameter in model.parameters()) == weights_of(name).meta["num_params"]


@every_model
def test_shows_what_torchvisions_preset_shows(name: str) -> None:
    """Of a clip in the preset's own size: the middle, of which the width of 171 allows two, normalised."""
    config = config_of(RECIPES[name])
    torch.manual_seed(0)
    rough = torch.randint(0, 256, (1, 16, 3, 8, 11), dtype=torch.uint8)
    clip = v2.functional.resize(rough, [128, 171])
    views = crop_views(clip.movedim(-3, -1), config.data.test_views.crops)
    seen = Normalize(config.model.mean, config.model.std)(views.transpose(1, 2))
    expected = weights_of(name).transforms()(clip)
    torch.testing.assert_close(seen[..., 1:], expected[..., :-1], rtol=0, atol=1e-4)
    assert (config.data.test_views.sampling.clip_len, config.data.test_views.sampling.num_clips) == (16, 5)
