"""Capabilities of every network in the table, and of what asks for them."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import chain
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kinema.errors import UserError
from kinema.models import MODELS
from kinema.models.capabilities import HasBlocks, HasFeatures, HasHead, HasLayerGroups, require
from kinema.runtime.device import RuntimeOptions, compile_blocks
from kinema.training import SGD
from kinema.training.optimization.optimizer import parameter_groups
from kinema.training.parallel.sharding import shard
from tests.models.families import (
    CLASSES,
    LARGE_INIT,
    LOCALIZERS,
    PRETRAINED,
    RECOGNIZERS,
    features,
    pixels,
    small_localizer,
    small_model,
    small_pretraining,
)

every_network = pytest.mark.parametrize("name", MODELS)
every_recognizer = pytest.mark.parametrize("name", RECOGNIZERS)


def network_and_inputs(name: str, **values: Any) -> tuple[Any, tuple[Tensor, ...]]:
    if name in RECOGNIZERS:
        return small_model(name, **values), (pixels(name),)
    if name in PRETRAINED:
        pretraining: Any = small_pretraining(name, **values)
        return pretraining, (pixels(name), *pretraining.further_inputs(2))
    model = small_localizer(name)
    return model, (features(model),)


def outputs(model: nn.Module, *inputs: Tensor) -> list[Tensor]:
    return tree_leaves(model(*inputs))


def training_step(model: nn.Module, *inputs: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(1)
    torch.stack([output.float().square().mean() for output in outputs(model.train(), *inputs)]).sum().backward()
    return {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}


def test_the_table_names_a_family_of_each_kind() -> None:
    assert RECOGNIZERS
    assert LOCALIZERS


@every_recognizer
def test_layer_groups_hold_every_parameter_once(name: str) -> None:
    model = small_model(name)
    groups = [[id(p) for layer in group for p in layer.parameters()] for group in model.layer_groups()]
    assert all(groups)
    assert sorted(chain.from_iterable(groups)) == sorted(id(p) for p in model.parameters())
    head = [id(p) for p in model.head.parameters()]
    assert groups[-1][-len(head) :] == head


@every_recognizer
def test_layer_groups_are_in_the_order_of_the_forward_pass(name: str) -> None:
    model = small_model(name)
    group_of = {layer: i for i, group in enumerate(model.layer_groups()) for root in group for layer in root.modules()}
    called: list[int] = []
    for layer in group_of:
        if not [*layer.children()]:
            layer.register_forward_hook(lambda layer, *_: called.append(group_of[layer]))
    model(pixels(name))
    order = list(dict.fromkeys(called))
    assert order == sorted(order)


@every_recognizer
def test_layer_decay_multiplies_the_rate_by_group(name: str) -> None:
    model = small_model(name)
    groups = model.layer_groups()
    rate_of = {
        id(parameter): group["lr"]
        for group in parameter_groups(model, SGD(lr=1.0, layer_decay=0.5), 1.0)
        for parameter in group["params"]
    }
    for below, group in enumerate(groups):
        for layer in group:
            for parameter in layer.parameters():
                assert rate_of[id(parameter)] == 0.5 ** (len(groups) - 1 - below)


@every_network
def test_blocks_are_separate_modules_that_a_forward_pass_calls(name: str) -> None:
    model, inputs = network_and_inputs(name)
    blocks = list(model.blocks())
    inside = [set(block.modules()) for block in blocks]
    assert blocks
    assert sum(map(len, inside)) == len(set().union(*inside))
    called: list[nn.Module] = []
    for block in blocks:
        block.register_forward_hook(lambda block, *_: called.append(block))
    model(*inputs)
    assert set(called) == set(blocks)


@pytest.mark.parametrize("checkpointing", [False, True])
@every_network
def test_compilation_covers_every_block(name: str, checkpointing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = network_and_inputs(name, gradient_checkpointing=checkpointing)
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module, **_: compiled.append(module))
    compile_blocks(model, RuntimeOptions(compile=True))
    assert {part for unit in compiled for part in unit.modules()} >= set(model.blocks())
    called: list[nn.Module] = []
    for unit in compiled:
        unit.register_forward_hook(lambda unit, *_: called.append(unit))
    model.train()(*inputs)
    assert set(called) == set(compiled)


@pytest.fixture
def one_process() -> Iterator[Any]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@every_network
def test_a_sharded_network_takes_the_same_step(name: str, one_process: Any) -> None:
    plain, inputs = network_and_inputs(name)
    sharded = deepcopy(plain)
    shard(sharded, one_process)
    expected, found = training_step(plain, *inputs), training_step(sharded, *inputs)
    assert set(found) == set(expected)
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key].full_tensor(), gradient, rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("frozen_stages", [-1, 0, 2, 4])
@every_recognizer
def test_frozen_stages_freeze_the_first_groups(name: str, frozen_stages: int) -> None:
    model = small_model(name, frozen_stages=frozen_stages).train()
    before = {key: buffer.clone() for key, buffer in model.named_buffers() if "relative_position" not in key}
    model(pixels(name))
    for number, group in enumerate(model.layer_groups()):
        frozen = number <= frozen_stages
        for layer in group:
            assert all(parameter.requires_grad != frozen for parameter in layer.parameters())
            for path, module in layer.named_modules():
                if isinstance(module, _BatchNorm):
                    assert module.training != frozen, path
    group_of = {id(b): i for i, group in enumerate(model.layer_groups()) for layer in group for b in layer.buffers()}
    for key, value in before.items():
        buffer = model.get_buffer(key)
        if id(buffer) in group_of:
            assert torch.equal(buffer, value) == (group_of[id(buffer)] <= frozen_stages)


@every_recognizer
def test_gradient_checkpointing_changes_nothing(name: str) -> None:
    plain, checkpointed = (small_model(name, gradient_checkpointing=on, dropout=0.0) for on in (False, True))
    clips = pixels(name)
    expected, found = training_step(plain, clips), training_step(checkpointed, clips)
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=0, atol=0, msg=key)
    for key, buffer in plain.named_buffers():
        assert torch.equal(checkpointed.get_buffer(key), buffer), key


@every_recognizer
def test_the_head_on_the_features_gives_the_logits(name: str) -> None:
    model = small_model(name).eval()
    clips = pixels(name, clips=3)
    with torch.inference_mode():
        found = model.forward_features(clips)
        assert found.shape == (3, model.head.in_features)
        torch.testing.assert_close(model.head(found), model(clips), rtol=1e-4, atol=1e-4)


@every_recognizer
def test_features_are_of_the_clip_however_many_windows_are_classified(name: str) -> None:
    model, windowed = small_model(name).eval(), small_model(name, window=1).eval()
    clips = pixels(name)
    assert torch.equal(windowed.forward_features(clips), model.forward_features(clips))


@every_recognizer
def test_a_reset_head_is_a_new_layer_and_all_else_stays(name: str) -> None:
    model = small_model(name).eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    old = model.head
    model.reset_head(300)
    assert model.head is not old
    assert model.head.out_features == 300
    assert model.head.weight.std().item() == pytest.approx(LARGE_INIT, rel=0.05)
    assert not model.head.bias.any()
    assert model(pixels(name)).shape == (2, 300)
    kept = [key for key, value in model.state_dict().items() if value.shape == before[key].shape]
    assert len(before) - len(kept) == 2
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in kept)


@every_network
def test_the_declared_input_is_what_the_network_takes(name: str) -> None:
    model, inputs = network_and_inputs(name)
    assert model.input.channels == inputs[0].shape[1]
    if name not in LOCALIZERS:
        assert model.input.mean == pytest.approx(model.normalize.mean.flatten().tolist())
        assert model.input.std == pytest.approx(model.normalize.std.flatten().tolist())


@every_network
def test_an_exported_graph_computes_the_same(name: str) -> None:
    model, inputs = network_and_inputs(name)
    model.eval()
    with torch.no_grad():
        program = torch.export.export(model, inputs)
        for found, expected in zip(outputs(program.module(), *inputs), outputs(model, *inputs), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


class _Expanded(TorchDispatchMode):
    """Collects the sizes that weights of layers are expanded to."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.weights = {weight.untyped_storage().data_ptr() for weight in model.parameters() if weight.ndim == 2}
        self.sizes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.expand.default and args[0].untyped_storage().data_ptr() in self.weights:
            self.sizes.append(tuple(args[1]))
        return func(*args, **kwargs or {})


@every_recognizer
def test_no_layer_is_applied_row_by_row(name: str) -> None:
    """Where no weight takes a gradient, `matmul` repeats it for each row of an input that is no matrix in memory."""
    model = small_model(name).eval().requires_grad_(False)
    with torch.no_grad(), _Expanded(model) as expanded:
        model(pixels(name)[:1])
        model(pixels(name))
    assert not expanded.sizes


class Bare(nn.Module):
    """A network that declares nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, CLASSES)


@pytest.mark.parametrize(
    ("capability", "words"),
    [
        (HasBlocks, "blocks()"),
        (HasLayerGroups, "layer_groups()"),
        (HasHead, "a head"),
        (HasFeatures, "forward_features()"),
    ],
)
def test_a_missing_capability_is_named_with_the_option_and_the_network(capability: type, words: str) -> None:
    with pytest.raises(UserError) as error:
        require(Bare(), capability, "--some.option")
    assert all(word in str(error.value) for word in ("--some.option", "Bare", words))


@pytest.mark.parametrize(
    ("values", "option"),
    [
        ({"layer_decay": 0.5}, "--optim.layer-decay"),
        ({"head_weight_lr": 5.0}, "--optim.head-weight-lr"),
        ({"head_bias_lr": 5.0}, "--optim.head-bias-lr"),
    ],
)
@pytest.mark.parametrize("name", [*LOCALIZERS, "bare"])
def test_rates_that_a_network_cannot_have_are_refused(name: str, values: dict[str, float], option: str) -> None:
    model = Bare() if name == "bare" else small_localizer(name)
    if isinstance(model, HasLayerGroups) and "layer_decay" in values:
        pytest.skip(f"{name} has layer groups")
    with pytest.raises(UserError, match=option):
        parameter_groups(model, SGD(lr=1.0, **values), 1.0)


def test_a_network_without_blocks_is_neither_compiled_nor_sharded(one_process: Any) -> None:
    with pytest.raises(UserError, match=r"--runtime\.compile needs .* Bare"):
        compile_blocks(Bare(), RuntimeOptions(compile=True))
    with pytest.raises(UserError, match=r"--training\.fully-shard needs .* Bare"):
        shard(Bare(), one_process)
