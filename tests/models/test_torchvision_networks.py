"""torchvision's own S3D, Video Swin Transformer and MViTv2 beside Kinema's: scores, loss, gradients, sizes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import Weights, video

from kinema.models.complexity import complexity
from kinema.models.foreign import foreign_names, foreign_state_dict, load_foreign_state_dict
from kinema.models.mvit import MViTOptions
from kinema.models.recognizer import Normalize, RecognizerOptions
from kinema.models.s3d import S3DOptions
from kinema.models.swin3d import Swin3DOptions
from kinema.recipes import build_model, config_of

NETWORKS: dict[str, tuple[str, Weights]] = {
    "s3d": ("s3d_64x2_kinetics400", video.S3D_Weights.DEFAULT),
    "swin3d_t": ("swin3d_t_32x2_kinetics400", video.Swin3D_T_Weights.DEFAULT),
    "swin3d_s": ("swin3d_s_32x2_kinetics400", video.Swin3D_S_Weights.DEFAULT),
    "swin3d_b": ("swin3d_b_32x2_kinetics400", video.Swin3D_B_Weights.DEFAULT),
    "mvit_v2_s": ("mvitv2_s_16x4_kinetics400", video.MViT_V2_S_Weights.DEFAULT),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


@every_network
def test_sizes_are_those_that_torchvision_publishes(name: str) -> None:
    """Of its metadata; multiply-adds of 16 frames."""
    recipe, weights = NETWORKS[name]
    with torch.device("meta"):
        model = build_model(recipe)
    parameters, macs = complexity(model, (1, 3, 16, 224, 224))
    assert parameters == weights.meta["num_params"]
    assert macs / 1e9 == pytest.approx(weights.meta["_ops"], abs=0.001)


@pytest.mark.parametrize(
    ("name", "gflops"), [("swin3d_t", 88), ("swin3d_s", 166), ("swin3d_b", 282), ("mvit_v2_s", 64)]
)
def test_multiply_adds_of_the_recipes_clips_are_the_papers(name: str, gflops: int) -> None:
    """Video Swin's Table 1, and MViTv2's Table 8."""
    recipe, _ = NETWORKS[name]
    with torch.device("meta"):
        model = build_model(recipe)
    clip = config_of(recipe).data.train_clip
    _, macs = complexity(model, (1, 3, clip.sampling.frames, clip.crop.size, clip.crop.size))
    assert macs / 1e9 == pytest.approx(gflops, abs=1)


@every_network
def test_every_key_has_its_place(name: str) -> None:
    recipe, _ = NETWORKS[name]
    with torch.device("meta"):
        ours, theirs = build_model(recipe), video.__dict__[name]()
        weights = foreign_state_dict(ours, source="torchvision")
    assert {key: value.shape for key, value in weights.items()} == {
        key: value.shape for key, value in theirs.state_dict().items()
    }


@every_network
def test_normalization_and_views_are_those_of_its_preset(name: str) -> None:
    recipe, weights = NETWORKS[name]
    config, preset = config_of(recipe), weights.transforms()
    frame = torch.randint(256, (16, 3, *(preset.crop_size if len(preset.resize_size) == 1 else (256, 256))))
    frame = frame.to(torch.uint8)
    preset.resize_size = list(frame.shape[-2:])
    expected = preset(frame)
    pixels = frame.transpose(0, 1)
    found = Normalize(config.model.mean, config.model.std)(pixels[None])[0]
    margin = (found.shape[-1] - 224) // 2
    found = found[..., margin : margin + 224, margin : margin + 224]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


SMALL: dict[str, tuple[Callable[[], nn.Module], RecognizerOptions, tuple[int, int, int]]] = {
    "s3d": (lambda: pooling(video.s3d(num_classes=7), (2, 1, 2)), S3DOptions(num_classes=7, dropout=0.0), (18, 32, 64)),
    "swin3d": (
        lambda: video.SwinTransformer3d(
            [2, 4, 4], 32, [2, 2, 3, 1], [1, 2, 4, 8], [4, 3, 3], stochastic_depth_prob=0.5
        ),
        Swin3DOptions(width=32, depths=(2, 2, 3, 1), window_size=(4, 3, 3), drop_path=0.5, dropout=0.0),
        (18, 64, 96),
    ),
    "mvit": (
        lambda: with_size(video.mvit_v2_s(num_classes=7, stochastic_depth_prob=0.5, dropout=0.5), (4, 32, 64)),
        MViTOptions(num_classes=7, drop_path=0.5, dropout=0.5),
        (4, 32, 64),
    ),
}


def pooling(s3d: Any, window: tuple[int, int, int]) -> nn.Module:
    """torchvision's S3D, which takes no less than 14 frames of 224 px, with a window of pooling for smaller clips."""
    s3d.avgpool = nn.AvgPool3d(window, stride=1)
    s3d.classifier[0].p = 0.0
    return s3d


def with_size(mvit: Any, size: tuple[int, int, int]) -> nn.Module:
    """torchvision's MViTv2, whose size is fixed, on clips of another one: its attention interpolates positions."""
    frames, height, width = size
    mvit.pos_encoding.temporal_size = frames // 2
    mvit.pos_encoding.spatial_size = (height // 4, width // 4)
    return mvit


def test_s3d_pools_windows_of_7x7_features() -> None:
    torch.manual_seed(0)
    theirs, ours = video.s3d(num_classes=7).eval(), S3DOptions(num_classes=7).build().eval()
    load_foreign_state_dict(ours, theirs.state_dict(), source="torchvision")
    clip = torch.randn(1, 3, 18, 224, 256)
    with torch.inference_mode():
        torch.testing.assert_close(ours(clip), theirs(clip), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SMALL)
def test_scores_loss_and_gradients_are_torchvisions(name: str) -> None:
    """With the same draws of dropped paths and features."""
    build, options, (frames, height, width) = SMALL[name]
    torch.manual_seed(0)
    theirs: Any = build().double()
    ours: Any = options.build().double()
    load_foreign_state_dict(ours, theirs.state_dict(), source="torchvision")
    clips = torch.randn(2, 3, frames, height, width, dtype=torch.float64)
    outcomes: list[tuple[Tensor, Tensor]] = []
    for model in (theirs, ours):
        with torch.no_grad():
            logits = model.eval()(clips)
        torch.manual_seed(1)
        loss = F.cross_entropy(model.train()(clips), torch.tensor([3, 5]))
        loss.backward()
        outcomes.append((logits, loss))
    torch.testing.assert_close(outcomes[1], outcomes[0], rtol=1e-9, atol=1e-12)
    names = foreign_names(ours, "torchvision")
    expected = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        gradient = expected[names[key]].grad.view_as(parameter)
        assert (parameter.grad - gradient).norm() <= 1e-9 * gradient.norm() + 1e-14, key
