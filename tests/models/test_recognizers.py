"""What holds for every recognizer in the table."""

import json
from dataclasses import asdict, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from kinema.config import options_from
from kinema.errors import UserError
from kinema.models import name_of, options_class
from kinema.models.recognizer import fold_time
from tests.models.families import CLASSES, RECOGNIZERS, TRANSFORMERS, pixels, small_model, small_options

pytestmark = pytest.mark.parametrize("name", RECOGNIZERS)


@pytest.mark.parametrize("frames", [1, 3, 8, 17])
def test_a_training_step_reaches_every_parameter(name: str, frames: int) -> None:
    if name == "i3d":
        frames = max(frames, 5)  # it halves them three times, the last time by twos
    if name in ("videomae", "mvit", "vjepa2"):
        frames += frames % 2  # a token has two
    model = small_model(name, frames=frames).train()
    logits = model(pixels(name, frames=frames))
    assert logits.shape == (2, CLASSES)
    nn.functional.cross_entropy(logits, torch.tensor([0, 3])).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


def test_options_survive_json_and_rebuild_the_model(name: str) -> None:
    options = small_options(name, dropout=0.25, mean=(1.0, 2.0, 3.0), norm_eval=True, drop_path=0.2)
    model = options.build()
    again = options_from(options_class(name_of(options)), json.loads(json.dumps(asdict(options))), origin="test")
    assert again == options
    rebuilt: Any = again.build()
    rebuilt.load_state_dict(model.state_dict())
    clips = pixels(name)
    assert torch.equal(rebuilt.eval()(clips), model.eval()(clips))
    assert rebuilt.dropout.p == 0.25


def other_value(hint: Any, value: Any) -> Any:
    """A value of an option that is not its default."""
    hint = hint.__origin__ if hasattr(hint, "__metadata__") else hint
    choices = [choice for part in (hint, *get_args(hint)) if get_origin(part) is Literal for choice in get_args(part)]
    if choices:
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return tuple(number + 1 for number in value)
    if isinstance(value, float):
        return value / 2 or 0.5
    return value // 2 if value > 1 else value + 2


def state(model: nn.Module) -> list[object]:
    """All that can be seen of a network: structure, plain attributes, parameters and their gradients' switches."""
    plain = (int, float, str, tuple, bool)
    attributes = {
        (path, key): value
        for path, module in model.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, plain)
    }
    tensors = {key: (value.shape, value.double().sum().item()) for key, value in model.state_dict().items()}
    switches = [parameter.requires_grad for parameter in model.parameters()]
    scale = [buffer.tolist() for buffer in (model.normalize.mean, model.normalize.std)]
    return [str(model), attributes, tensors, switches, scale]


NEEDED: dict[str, dict[str, Any]] = {
    "pool_width": {"pool": "attention"},
    "pool_depth": {"pool": "attention"},
    "cell_levels": {"cells": (2, 2)},
    "cell_differences": {"cells": (2, 2)},
}
"""What other options must be for an option to have an effect."""


def test_no_option_is_ignored(name: str) -> None:
    base = small_options(name, depth=50, width=16, non_local="gaussian")
    hints = get_type_hints(type(base), include_extras=True)
    for field in fields(base):
        if field.name not in ("pretrained", "backbone"):
            value = other_value(hints[field.name], getattr(base, field.name))
            given = replace(base, **NEEDED.get(field.name, {}))
            torch.manual_seed(0)
            before = state(given.build())
            torch.manual_seed(0)
            assert state(replace(given, **{field.name: value}).build()) != before, field.name


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"num_clases": 18}, ["num_clases", "did you mean 'num_classes'"]),
        ({"frozen_stages": -2}, ["frozen_stages", "-1", "-2"]),
        ({"mean": [1.0, 2.0]}, ["mean"]),
    ],
)
def test_faulty_options_are_named(name: str, values: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        options_from(options_class(name), values, origin=name)
    assert all(word in str(error.value) for word in (name, *words))


def test_an_unknown_model_is_named(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}x'; did you mean '{name}'"):
        options_class(f"{name}x")


def test_pixels_equal_floats_normalised_by_hand(name: str) -> None:
    mean, std = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
    model = small_model(name, mean=mean, std=std).eval()
    clips = pixels(name)
    channels = [(clips[:, c].double() - mean[c]) / std[c] for c in range(3)]
    torch.testing.assert_close(model(clips), model(torch.stack(channels, dim=1).float()), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("depth", [18, pytest.param(50, marks=pytest.mark.slow)])
def test_channels_last_clips_stay_so_without_a_copy(name: str, depth: int) -> None:
    model = small_model(name, depth=depth, width=16)
    clips = pixels(name, clips=2, frames=8)
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
        tokens = key.endswith(".pool")  # MViT's, of channels by head
        if isinstance(module, nn.Conv2d | nn.Conv3d | _BatchNorm | nn.MaxPool2d | nn.MaxPool3d) and not tokens:
            module.register_forward_hook(note(key))
    model(clips)
    assert bool(layouts) == (name not in TRANSFORMERS)  # they compute products of tokens
    assert [key for key, kept in layouts.items() if not kept] == []


def test_bfloat16_autocast_trains_and_comes_near_float32(name: str) -> None:
    model = small_model(name).eval()
    clips = pixels(name)
    expected = model(clips)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(clips)
    assert logits.dtype == torch.bfloat16
    nn.functional.cross_entropy(logits.float(), torch.tensor([0, 3])).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert (logits - expected).abs().max() < 0.05 * expected.abs().max()


def test_only_the_head_depends_on_the_classes(name: str) -> None:
    options = small_options(name)
    few, many = options.build(), replace(options, num_classes=9).build()
    shapes = {key: value.shape for key, value in many.state_dict().items()}
    changed = {key for key, value in few.state_dict().items() if value.shape != shapes[key]}
    head = {id(parameter) for parameter in few.head.parameters()}
    assert changed == {key for key, parameter in few.named_parameters() if id(parameter) in head}


def test_only_tsn_ignores_the_order_of_frames(name: str) -> None:
    model = small_model(name).eval()
    clips = pixels(name, frames=8)
    with torch.inference_mode():
        forwards, backwards = model(clips), model(clips.flip(2))
    assert torch.allclose(forwards, backwards, rtol=0, atol=1e-4 * forwards.abs().max().item()) == (name == "tsn")


def test_dropout_acts_on_the_video_but_in_tsm_on_frames(name: str) -> None:
    model = small_model(name)
    shapes: list[torch.Size] = []
    model.dropout.register_forward_hook(lambda _module, inputs, _output: shapes.append(inputs[0].shape))
    model(pixels(name, clips=2, frames=8))
    rows = 2 * 8 if name == "tsm" else 2
    assert shapes == [(rows, model.head.in_features)]
