"""What holds for every recognizer in the table."""

import inspect
import json
from dataclasses import MISSING, asdict, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kinema.errors import UserError
from kinema.models import MODELS, Options, Recognizer, build, name_of, options_from
from kinema.models.recognizer import fold_time

pytestmark = pytest.mark.parametrize("name", MODELS)

CLASSES = 5
LARGE_INIT = 0.1
"""A head whose logits lie well above rounding errors."""


def small_options(name: str, **values: Any) -> Options:
    kind, _ = MODELS[name]
    small = {"depth": 18, "width": 8, "num_classes": CLASSES, "init_std": LARGE_INIT, "zero_init_residual": False}
    return kind(**{**small, **values})


def small_model(name: str, **values: Any) -> Recognizer:
    torch.manual_seed(0)
    return build(small_options(name, **values))


def main_network(model: Recognizer) -> nn.Module:
    """The ResNet, of two the slow one."""
    return getattr(model.backbone, "slow", model.backbone)


def pixels(clips: int = 2, frames: int = 8) -> Tensor:
    """`uint8` clips `(N, 3, T, H, W)` in the memory order `(N, T, H, W, C)`, as the data path delivers them."""
    memory = torch.randint(256, (clips, frames, 64, 48, 3), dtype=torch.uint8)
    return memory.permute(0, 4, 1, 2, 3)


@pytest.mark.parametrize("frames", [1, 3, 8, 17])
def test_a_training_step_reaches_every_parameter(name: str, frames: int) -> None:
    if name == "i3d":
        frames = max(frames, 5)  # it halves them three times, the last time by twos
    model = small_model(name).train()
    logits = model(pixels(frames=frames))
    assert logits.shape == (2, CLASSES)
    nn.functional.cross_entropy(logits, torch.tensor([0, 3])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_options_survive_json_and_rebuild_the_model(name: str) -> None:
    options = small_options(name, dropout=0.25, mean=(1.0, 2.0, 3.0), norm_eval=True)
    model = build(options)
    again = options_from(name_of(options), json.loads(json.dumps(asdict(options))))
    assert again == options
    rebuilt = build(again)
    rebuilt.load_state_dict(model.state_dict())
    clips = pixels()
    assert torch.equal(rebuilt.eval()(clips), model.eval()(clips))
    assert rebuilt.dropout.p == 0.25


def test_every_option_reaches_the_model(name: str) -> None:
    model = small_model(
        name,
        width=16,
        num_classes=99,
        dropout=0.25,
        init_std=0.5,
        zero_init_residual=True,
        frozen_stages=2,
        norm_eval=True,
    )
    backbone = model.backbone
    assert (backbone.depth, backbone.width, backbone.frozen_stages, backbone.norm_eval) == (18, 16, 2, True)
    assert not any(main_network(model).layer1[0].bn2.weight)
    assert model.dropout.p == 0.25
    assert model.fc.weight.std().item() == pytest.approx(0.5, rel=0.05)
    assert not any(model.fc.bias)


def test_builder_has_the_options_defaults(name: str) -> None:
    kind, builder = MODELS[name]
    options = {field.name: field.default for field in fields(kind) if field.name != "pretrained"}
    assert MISSING not in options.values()
    keywords = inspect.signature(builder).parameters
    assert {key: parameter.default for key, parameter in keywords.items()} == options


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dept": 18}, ["dept", "did you mean 'depth'"]),
        ({"depth": 19}, ["depth", "18, 34, 50, 101 or 152", "19"]),
        ({"mean": [1.0, 2.0]}, ["mean"]),
    ],
)
def test_faulty_options_are_named(name: str, values: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        options_from(name, values)
    assert all(word in str(error.value) for word in (name, *words))


def test_an_unknown_model_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}x'; did you mean '{name}'"):
        options_from(f"{name}x", {})


def test_pixels_equal_floats_normalised_by_hand(name: str) -> None:
    mean, std = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
    model = small_model(name, mean=mean, std=std).eval()
    clips = pixels()
    channels = [(clips[:, c].double() - mean[c]) / std[c] for c in range(3)]
    torch.testing.assert_close(model(clips), model(torch.stack(channels, dim=1).float()), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("depth", [18, 50])
def test_channels_last_clips_stay_so_without_a_copy(name: str, depth: int) -> None:
    model = small_model(name, depth=depth, width=16)
    clips = pixels(clips=2, frames=8)
    assert fold_time(clips).data_ptr() == clips.data_ptr()
    layouts: dict[str, bool] = {}

    def channels_innermost(x: Tensor) -> bool:
        return x.movedim(1, -1).is_contiguous()

    def note(key: str) -> Any:
        def hook(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            # What the slow pathway sees is a choice of the clips' frames, a view.
            layouts[key] = channels_innermost(output) and (
                channels_innermost(inputs[0]) or key == "backbone.slow.conv1"
            )

        return hook

    for key, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | _BatchNorm | nn.MaxPool2d | nn.MaxPool3d):
            module.register_forward_hook(note(key))
    model(clips)
    assert layouts
    assert [key for key, kept in layouts.items() if not kept] == []


def test_bfloat16_autocast_trains_and_comes_near_float32(name: str) -> None:
    model = small_model(name).eval()
    clips = pixels()
    expected = model(clips)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(clips)
    assert logits.dtype == torch.bfloat16
    nn.functional.cross_entropy(logits.float(), torch.tensor([0, 3])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert (logits - expected).abs().max() < 0.05 * expected.abs().max()


def test_only_the_head_depends_on_the_classes(name: str) -> None:
    options = small_options(name)
    few, many = build(options).state_dict(), build(replace(options, num_classes=9)).state_dict()
    assert {key for key in few if few[key].shape != many[key].shape} == {"fc.weight", "fc.bias"}


def test_only_tsn_ignores_the_order_of_frames(name: str) -> None:
    model = small_model(name).eval()
    clips = pixels(frames=8)
    forwards, backwards = model(clips), model(clips.flip(2))
    assert torch.allclose(forwards, backwards, atol=1e-5) == (name == "tsn")


def test_dropout_acts_on_the_video_but_in_tsm_on_frames(name: str) -> None:
    model = small_model(name)
    shapes: list[torch.Size] = []
    model.dropout.register_forward_hook(lambda _module, inputs, _output: shapes.append(inputs[0].shape))
    model(pixels(clips=2, frames=8))
    rows = 2 * 8 if name == "tsm" else 2
    assert shapes == [(rows, model.backbone.out_channels)]
