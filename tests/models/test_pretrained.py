"""ImageNet weights: taken from torch's hub cache, and what is said when they cannot be had."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from kinema.errors import UserError
from kinema.models import load_pretrained
from kinema.models.i3d import I3DOptions
from kinema.models.slowonly import SlowOnlyOptions
from kinema.models.swin3d import Swin3DOptions
from kinema.models.tsm import TSMOptions
from kinema.models.tsn import TSNOptions
from kinema.weights.foreign_files import read_foreign_weights

FILE = Path(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url).name


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which torch looks for downloaded weights, on a machine that reaches no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("kind", [TSNOptions, TSMOptions])
def test_a_file_put_into_the_cache_fills_the_backbone_alone(cache: Path, kind: type[TSNOptions]) -> None:
    imagenet = torchvision.models.resnet18()
    torch.save(imagenet.state_dict(), cache / FILE)
    options = kind(depth=18, num_classes=5)
    model = options.build()
    head = model.fc.weight.clone()
    load_pretrained(model, options, read_foreign_weights)
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, imagenet.state_dict()[key]), key
    assert torch.equal(model.fc.weight, head)


@pytest.mark.parametrize("kind", [I3DOptions, SlowOnlyOptions])
def test_3d_backbones_get_the_weights_inflated(cache: Path, kind: type[I3DOptions]) -> None:
    imagenet = torchvision.models.resnet18()
    torch.save(imagenet.state_dict(), cache / FILE)
    options = kind(depth=18, num_classes=5, pretrained="imagenet")
    model = options.build()
    load_pretrained(model, options, read_foreign_weights)
    for key, value in model.backbone.state_dict().items():
        whole = value.sum(dim=2) if value.dim() == 5 else value
        torch.testing.assert_close(whole, imagenet.state_dict()[key], msg=key)
        if value.dim() == 5:
            assert all(torch.equal(value[:, :, 0], value[:, :, t]) for t in range(value.shape[2])), key


def test_a_stem_for_flow_gets_the_mean_of_the_colours(cache: Path) -> None:
    weights = torchvision.models.resnet18().state_dict()
    torch.save(weights, cache / FILE)
    options = TSNOptions(num_classes=3, depth=18, flow_fields=5)
    model = options.build()
    load_pretrained(model, options, read_foreign_weights)
    stem = model.backbone.state_dict()["conv1.weight"]
    assert stem.shape == (64, 10, 7, 7)
    colours = weights["conv1.weight"]
    for channel in stem.unbind(1):
        torch.testing.assert_close(channel, (colours[:, 0] + colours[:, 1] + colours[:, 2]) / 3)


def test_non_local_blocks_keep_their_own_weights(cache: Path) -> None:
    torch.save(torchvision.models.resnet18().state_dict(), cache / FILE)
    options = I3DOptions(depth=18, non_local="embedded_gaussian")
    model = options.build()
    before = {key: value.clone() for key, value in model.state_dict().items() if ".non_local." in key}
    load_pretrained(model, options, read_foreign_weights)
    assert before
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())


def assert_says_what_to_do(message: str, file: Path) -> None:
    for part in ("https://download.pytorch.org/models/", FILE, str(file), "--model.pretrained none"):
        assert part in message


def test_a_failed_download_says_what_to_do(cache: Path) -> None:
    options = TSNOptions(depth=18)
    with pytest.raises(UserError) as error:
        load_pretrained(options.build(), options, read_foreign_weights)
    assert_says_what_to_do(str(error.value), cache / FILE)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_damaged_file_in_the_cache_says_what_to_do(cache: Path, content: bytes) -> None:
    (cache / FILE).write_bytes(content)
    options = TSNOptions(depth=18)
    with pytest.raises(UserError) as error:
        load_pretrained(options.build(), options, read_foreign_weights)
    assert_says_what_to_do(str(error.value), cache / FILE)


def test_imagenet_weights_fit_one_width_only() -> None:
    options = TSNOptions(depth=18, width=32)
    with pytest.raises(UserError, match=r"width 64 only, found 32; .*--model\.pretrained none"):
        load_pretrained(options.build(), options, read_foreign_weights)


def test_a_video_swin_sees_a_still_image_as_the_2d_network(cache: Path) -> None:
    torch.manual_seed(0)
    imagenet = torchvision.models.swin_t().eval()
    torch.save(imagenet.state_dict(), cache / Path(torchvision.models.Swin_T_Weights.IMAGENET1K_V1.url).name)
    options = Swin3DOptions(num_classes=5, pretrained="imagenet")
    model = options.build().eval()
    load_pretrained(model, options, read_foreign_weights)
    image = torch.randn(1, 3, 224, 224)
    imagenet.head = torch.nn.Identity()
    with torch.inference_mode():
        clip = image.unsqueeze(2).expand(-1, -1, 4, -1, -1)
        torch.testing.assert_close(model.forward_features(clip), imagenet(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("values", [{"width": 32}, {"depths": (2, 2, 2, 2)}, {"window_size": (8, 8, 8)}])
def test_imagenet_weights_fit_three_sizes_of_video_swin(values: dict[str, Any]) -> None:
    options = Swin3DOptions(pretrained="imagenet", **values)
    with torch.device("meta"), pytest.raises(UserError, match=r"model\.width 96 .*--model\.pretrained none"):
        load_pretrained(options.build(), options, read_foreign_weights)


def test_none_leaves_the_weights_alone(cache: Path) -> None:
    options = TSNOptions(depth=18, width=8, pretrained="none")
    model = options.build()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    load_pretrained(model, options, read_foreign_weights)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert list(cache.iterdir()) == []
