"""Every convolution and linear layer of every network in bfloat16, beside float64 with the same operands.

Networks as a whole tell little: rounding moves activations over a ReLU's edge. A layer alone is a sum of products,
whose error is bounded: by the rounding of its result to bfloat16, 2⁻⁸, and of n additions in float32, n · 2⁻²⁴, each
times the sum of the products' magnitudes (Higham, Accuracy and Stability, section 3.1).

CPUs without AVX-512 add bfloat16 numbers up in bfloat16, too. As rounding errors are as likely up as down, n additions
are off by some √n · 2⁻⁸ (Higham & Mary, 2019, A new approach to probabilistic rounding error analysis).
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kinema.models.bmn import BMNOptions
from kinema.models.bsn import PEMOptions, TEMOptions
from kinema.models.localizer import LocalizerOptions
from kinema.models.transformer import attend
from kinema.models.tsm import TSMOptions
from tests.models.families import LOCALIZERS, RECOGNIZERS, TRANSFORMERS, features, small_localizer, small_model

SUMS_IN_BFLOAT16 = not torch.backends.cpu.get_cpu_capability().startswith("AVX512")
SIZES = [(8, 1, 1), (8, 32, 8), (8, 9, 64), (8, 48, 33), (12, 33, 24), (16, 32, 48)]
"""Frames, height and width of clips; five halvings leave 1 to 2 of height and width, three or four 1 to 4 frames."""


FIXED_DEPTH = ("s3d", "swin3d", "mvit")
FEW_SIZES = (*TRANSFORMERS, *FIXED_DEPTH)


@dataclass
class Layer:
    """A layer's operands and results."""

    module: nn.Module
    input: Tensor
    output: Tensor
    gradients: list[Tensor | None] = field(default_factory=list)
    """With respect to the input and to the output."""


def watch(model: nn.Module) -> list[Layer]:
    """Note each call of a convolution or linear layer."""
    layers: list[Layer] = []

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        layers.append(Layer(module, inputs[0].detach(), output.detach()))

    def backward(module: nn.Module, to_input: tuple[Tensor | None, ...], to_output: tuple[Tensor, ...]) -> None:
        next(layer for layer in layers if layer.module is module).gradients = [to_input[0], to_output[0]]

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            module.register_forward_hook(after)
            module.register_full_backward_hook(backward)
    return layers


def results(module: Any, *operands: Tensor) -> tuple[Tensor, ...]:
    """Output and gradients of input and weight in float64."""
    x, weight, gradient = (each.double() for each in operands)
    x.requires_grad_()
    weight.requires_grad_()
    if isinstance(module, nn.Linear):
        out = F.linear(x, weight)
    else:
        plain = F.conv3d if isinstance(module, nn.Conv3d) else F.conv2d
        out = plain(x, weight, None, module.stride, module.padding, groups=module.groups)
    return out.detach(), *torch.autograd.grad(out, [x, weight], gradient)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # of the first layer, whose input is no parameter
@pytest.mark.parametrize("depth", [pytest.param(18, marks=pytest.mark.slow), 50])
@pytest.mark.parametrize(
    ("name", "size"),
    [
        pytest.param(name, size, marks=pytest.mark.slow if size in SIZES[1::2] else [])
        for name in RECOGNIZERS
        for size in (SIZES if name not in FEW_SIZES else [(8, 64, 64)])
    ],
)
def test_every_layer_is_within_rounding(name: str, depth: int, size: tuple[int, int, int]) -> None:
    layers = checked_layers(small_model(name, depth=depth, init_std=None), size)
    assert len(layers) > (depth if name not in FIXED_DEPTH else 10)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("network", ["mobilenetv2_035", "test_convnext", "mobilenetv4_conv_small_035"])
def test_every_layer_of_an_image_network_is_within_rounding(network: str) -> None:
    torch.manual_seed(0)
    options = TSMOptions(backbone=f"timm:{network}", pretrained="none", num_classes=5, init_std=0.1)
    assert len(checked_layers(options.build(), (4, 64, 48))) > 10


def checked_layers(model: nn.Module, size: tuple[int, int, int]) -> list[Layer]:
    """The layers of a training step on clips of a size, each of which is within rounding."""
    layers = watch(model.train())
    clips = torch.randint(256, (2, *size, 3), dtype=torch.uint8).movedim(-1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(clips)
    F.cross_entropy(logits.float(), torch.tensor([0, 3])).backward()
    for layer in layers:
        module: Any = layer.module
        to_input, to_output = layer.gradients
        assert to_output is not None
        rounded = [each.bfloat16() for each in (layer.input, module.weight.detach(), to_output)]
        exact, magnitude = results(module, *rounded), results(module, *[each.abs() for each in rounded])
        count = results(module, *[torch.ones_like(each) for each in rounded])
        bias = torch.zeros(1) if module.bias is None else module.bias.detach().bfloat16().double()
        if not isinstance(module, nn.Linear):
            bias = bias.view(-1, *[1] * (layer.output.dim() - 2))
        found = (layer.output.double() - bias, to_input, module.weight.grad)
        for what, value, right, size_, terms in zip(
            ("output", "input's gradient", "weight's gradient"), found, exact, magnitude, count, strict=True
        ):
            if value is not None:
                rounding = 4 * terms.sqrt() * 2**-8 if SUMS_IN_BFLOAT16 else terms * 2**-24
                bound = (2**-8 + rounding) * (size_ + bias.abs().max())
                assert bool(((value.double() - right).abs() <= bound).all()), f"{what} of {module}, {layer.input.shape}"
    return layers


@pytest.mark.parametrize("length", [1, 17, 196])
def test_attention_is_within_rounding(length: int) -> None:
    """The values' average: its weights may be rounded to bfloat16, as the result is.

    Scores are sums of d products, which are exact in float32; their error shifts the logarithm of a weight by at most
    twice as much. Where sums are in bfloat16, too, errors grow as in `results`.
    """
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, length, 64).bfloat16() for _ in range(3))
    found = attend(q, k, v).unflatten(2, (3, 64)).transpose(1, 2).double()
    q, k, v = (each.double() for each in (q, k, v))
    weights = (q @ k.transpose(2, 3) / 8).softmax(dim=3)
    additions = 64 + length
    rounding = 4 * additions**0.5 * 2**-8 if SUMS_IN_BFLOAT16 else additions * 2**-24
    score = 2 * rounding * (q.abs() @ k.abs().transpose(2, 3) / 8).amax(dim=3, keepdim=True)
    bound = (2 * 2**-8 + score + rounding) * (weights @ v.abs())
    assert bool(((found - weights @ v).abs() <= bound).all())


class Sums(TorchDispatchMode):
    """Checks the operators that add up products of bfloat16 numbers, as they are called."""

    OPERATORS = ("convolution", "convolution_backward", "mm", "addmm", "_embedding_bag", "_embedding_bag_forward_only")

    def __init__(self) -> None:
        super().__init__()
        self.checked: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._opname in self.OPERATORS and any(map(is_bfloat16, args)):
            self.check(func, args, out)
        return out

    def check(self, operator: Any, args: tuple[Any, ...], out: Any) -> None:
        exact, magnitude, count = (
            operator(*[change(each.double()) if is_bfloat16(each) else each for each in args])
            for change in (Tensor.clone, Tensor.abs, torch.ones_like)
        )
        for value, right, size, terms in zip(*map(sums_of, (out, exact, magnitude, count)), strict=True):
            rounding = 4 * terms.sqrt() * 2**-8 if SUMS_IN_BFLOAT16 else terms * 2**-24
            within = (value.double() - right).abs() <= (2**-8 + rounding) * size
            shapes = [tuple(each.shape) for each in args if isinstance(each, Tensor)]
            assert bool(within.all()), f"{operator} of {shapes}"
            self.checked.append(operator._opname)


def is_bfloat16(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bfloat16


def sums_of(out: Tensor | tuple[Tensor | None, ...]) -> list[Tensor]:
    several = [out] if isinstance(out, Tensor) else out
    return [each for each in several if each is not None and each.is_floating_point()]


BMN = {"feature_channels": 8, "parts": 13, "samples": 4, "hidden_1d": 20, "hidden_2d": 9, "hidden_3d": 33}


@pytest.mark.parametrize(
    ("options", "shape", "sums"),
    [
        pytest.param(BMNOptions(**BMN), (2, 8, 13), 49, id="bmn"),  # type: ignore[arg-type]
        pytest.param(BMNOptions(**BMN, formulation="dense"), (2, 8, 13), 51, id="dense bmn"),  # type: ignore[arg-type]
        pytest.param(TEMOptions(feature_channels=400, hidden=24), (2, 400, 11), 11, id="tem"),
        pytest.param(PEMOptions(feature_channels=32, hidden=40), (70, 32), 5, id="pem"),
    ],
)
def test_every_sum_of_a_localizer_is_within_rounding(options: LocalizerOptions, shape: Any, sums: int) -> None:
    torch.manual_seed(0)
    model = options.build().train()
    with Sums() as mode:
        with torch.autocast("cpu", torch.bfloat16):
            out = model(torch.randn(shape))
        losses = [each.float().square().mean() for each in tree_leaves(out)]
        torch.stack(losses).sum().backward()
    assert len(mode.checked) == sums


def gradients(model: nn.Module, inputs: Tensor, *, bfloat16: bool) -> dict[str, Tensor]:
    """Gradients of a loss by every parameter, in float64."""
    model = deepcopy(model)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        out = model(inputs)
    out = torch.cat([each.flatten() for each in tree_leaves(out)])
    (out.float() if bfloat16 else out).square().mean().backward()
    return {name: weight.grad.double() for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # said by torch.backends.mkldnn.flags
@pytest.mark.parametrize("name", [*RECOGNIZERS, *LOCALIZERS])
def test_gradients_are_as_near_to_float64_as_without_onednn(name: str) -> None:
    """Of a whole network with fixed statistics of batch norm, since those of few pixels amplify rounding at will.

    What torch's own operators are off, of a weight or of all together, is what rounding does to this network.
    """
    recognizer = name in RECOGNIZERS
    model = (small_model(name, width=16) if recognizer else small_localizer(name)).eval()
    inputs = torch.randn(2, 8, 64, 64, 3).movedim(-1, 1) if recognizer else features(model)  # type: ignore[arg-type]
    exact = gradients(deepcopy(model).double(), inputs.double(), bfloat16=False)
    found = gradients(model, inputs, bfloat16=True)
    with torch.backends.mkldnn.flags(enabled=False):
        plain = gradients(model, inputs, bfloat16=True)

    def errors(values: dict[str, Tensor]) -> Tensor:
        return torch.stack([(values[key] - exact[key]).norm() for key in exact])

    sizes = torch.stack([value.norm() for value in exact.values()])
    typical = errors(plain).norm() / sizes.norm() * sizes
    assert found.keys() == exact.keys()
    worst = errors(found) / (errors(plain) + typical).clamp(min=1e-300)  # some are zero: positions of single tokens
    assert worst.max() < 4, list(exact)[worst.argmax()]
