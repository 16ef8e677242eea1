"""Which parameters get which rate and decay."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from kinema.models.tsm import TSMOptions
from kinema.recipes import RECOGNIZERS, config_of
from kinema.training import SGD, Adam, AdamW
from kinema.training.optimization.optimizer import make_optimizer, parameter_groups, set_lr

MODEL = TSMOptions(depth=18, width=8, num_classes=5)

OF_STAGES = ("tsn_r", "tsm_r", "i3d", "slowonly", "slowfast", "r2plus1d", "r3d", "mc3", "x3d")
"""Recipes of networks with a stem, `layer1` to `layer4` and a head."""


def rates_and_decays(options: SGD | AdamW, total_batch: int = 1) -> dict[str, tuple[float, float]]:
    model = MODEL.build()
    optimizer = make_optimizer(model, options, total_batch=total_batch)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert set(found) == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return found


def test_tsm_trains_its_head_faster_and_decays_no_bias() -> None:
    options = config_of("tsm_r50_1x1x8_50e_kinetics400_rgb").optim
    for name, (lr, decay) in rates_and_decays(options, total_batch=64).items():
        expected = {"fc.weight": (0.05, 1e-4), "fc.bias": (0.1, 0.0)}
        is_convolution = "conv" in name or name.endswith("downsample.0.weight")
        assert (lr, decay) == pytest.approx(expected.get(name, (0.01, 1e-4 if is_convolution else 0.0)))


@pytest.mark.parametrize(("total", "expected"), [(256, 0.01), (64, 0.0025), (512, 0.02)])
def test_the_rate_follows_the_total_batch(total: int, expected: float) -> None:
    rates = rates_and_decays(SGD(lr=0.01, lr_batch=256), total_batch=total)
    assert sorted({lr for lr, _ in rates.values()}) == pytest.approx([expected])
    assert {lr for lr, _ in rates_and_decays(SGD(lr=0.01), total_batch=total).values()} == {0.01}


def test_frozen_weights_are_not_optimized() -> None:
    model = TSMOptions(depth=18, width=8, num_classes=5, frozen_stages=2).build()
    optimizer = make_optimizer(model, AdamW(lr=1e-3), total_batch=1)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert not held & {id(parameter) for parameter in model.backbone.layer2.parameters()}
    assert held >= {id(parameter) for parameter in model.backbone.layer3.parameters()}


def test_set_lr_scales_every_group_from_its_own_start() -> None:
    model = MODEL.build()
    optimizer = make_optimizer(model, SGD(lr=1.0, head_weight_lr=5), total_batch=1)
    for factor in (0.5, 0.1):
        assert set_lr(optimizer, factor) == pytest.approx(factor)
        assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([factor, 5 * factor])


def test_sgd_steps_as_the_formula_says() -> None:
    """v ← μ v + g + λ w; w ← w − lr v."""
    model = MODEL.build()
    optimizer = make_optimizer(model, SGD(lr=0.1, weight_decay=0.01, momentum=0.9), total_batch=1)
    weight = model.fc.weight
    expected, velocity = weight.detach().double().clone(), torch.zeros_like(weight, dtype=torch.float64)
    for _ in range(3):
        weight.grad = torch.full_like(weight, 0.5)
        optimizer.step()
        velocity = 0.9 * velocity + 0.5 + 0.01 * expected
        expected = expected - 0.1 * velocity
    torch.testing.assert_close(weight.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (SGD(lr=0.1), lambda weights: torch.optim.SGD(weights, 0.1, momentum=0.9, weight_decay=1e-4)),
        (Adam(lr=0.1), lambda weights: torch.optim.Adam(weights, 0.1, weight_decay=1e-4)),
        (AdamW(lr=0.1), lambda weights: torch.optim.AdamW(weights, 0.1, weight_decay=0.05)),
    ],
)
def test_steps_and_state_are_those_of_torch(
    options: SGD | Adam | AdamW, expected: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
) -> None:
    """Also after the state was saved and loaded, and with gradients enabled around a step."""
    model, copy = nn.Linear(5, 3), nn.Linear(5, 3)
    copy.load_state_dict(model.state_dict())
    pairs = [(model, make_optimizer(model, options, total_batch=1)), (copy, expected([*copy.parameters()]))]
    for step in range(4):
        for network, optimizer in pairs:
            network(torch.full((2, 5), 1.0 + step)).square().sum().backward()
            with torch.enable_grad():
                optimizer.step()
                assert torch.is_grad_enabled()
            optimizer.zero_grad()
            assert network.weight.grad is None
            optimizer.load_state_dict(deepcopy(optimizer.state_dict()))
        torch.testing.assert_close(model.state_dict(), copy.state_dict(), rtol=1e-5, atol=1e-6)
    states = [optimizer.state_dict()["state"] for _, optimizer in pairs]
    torch.testing.assert_close(states[0], states[1], rtol=1e-5, atol=1e-6)


def test_hooks_around_a_step_are_called() -> None:
    model = nn.Linear(5, 3)
    optimizer = make_optimizer(model, SGD(lr=0.1), total_batch=1)
    called: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: called.append("before"))
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    model(torch.ones(2, 5)).sum().backward()
    optimizer.step()
    assert called == ["before", "after"]


@pytest.mark.parametrize("recipe", [name for name in RECOGNIZERS if name.startswith(OF_STAGES)])
def test_rates_fall_from_the_head_down_to_the_stem(recipe: str) -> None:
    """0.5 to the power of the layers above: four stages below the head, of X3D a convolution and a layer between."""
    options = config_of(recipe, {"optim.layer_decay": "0.5"})
    with torch.device("meta"):
        model = replace(options.model, pretrained="none").build()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {
        names[id(parameter)]: group["lr"]
        for group in parameter_groups(model, replace(options.optim, head_weight_lr=1, head_bias_lr=1), 1.0)
        for parameter in group["params"]
    }
    between = {"conv5": 2, "bn5": 2, "neck": 1} if recipe.startswith("x3d") else {}
    stem = 5 + len(set(between.values()))
    for name, rate in rates.items():
        parts = name.split(".")
        if above := next((between[part] for part in parts if part in between), 0):
            assert rate == 0.5**above, name
            continue
        stage = next((int(part[-1]) for part in parts if part.startswith("layer")), None)
        if stage is None and "laterals" in parts:
            stage = int(parts[parts.index("laterals") + 1]) + 1
        assert rate == 0.5 ** (0 if parts[0] == "fc" else stem - (stage or 0)), name
    assert {0.5**k for k in range(stem + 1)} - set(rates.values()) <= {0.5**stem}  # the stem may be frozen
