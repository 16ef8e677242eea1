"""V-JEPA 2 beside transformers' and the authors' code: names, scores, a training step, positions, frozen encoders."""

import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from kinema.errors import UserError
from kinema.models.complexity import complexity
from kinema.models.foreign import foreign_misfits, foreign_names, foreign_state_dict, load_foreign_state_dict
from kinema.models.vjepa2 import VJEPA2, VJEPA2Options, rotary_tables, rotated
from kinema.recipes import config_of
from kinema.training import AdamW
from kinema.training.optimization.optimizer import make_optimizer
from tests.models import parity
from tests.models.hugging_face import randomized

TINY = {"frames": 8, "size": 48, "width": 48, "depth": 3, "heads": 2, "mlp_ratio": 48 / 11, "num_classes": 7}
PROBE = {"probe_depth": 2, "probe_heads": 2}


def tiny(**values: Any) -> VJEPA2:
    torch.manual_seed(0)
    return VJEPA2Options(**{**TINY, **PROBE, **values}).build()


def theirs() -> Any:
    """transformers' network of the same size."""
    config = transformers.VJEPA2Config(
        crop_size=48, frames_per_clip=8, hidden_size=48, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=48 / 11,
        num_pooler_layers=2, pred_hidden_size=24, pred_num_attention_heads=2, pred_num_hidden_layers=1, num_labels=7,
    )  # fmt: skip
    return randomized(transformers.VJEPA2ForVideoClassification(config))


def clips() -> Tensor:
    """`(2, 3, 8, 48, 48)`."""
    return torch.randn(2, 3, 8, 48, 48, generator=torch.Generator().manual_seed(2))


def as_of(reference: Any) -> VJEPA2:
    weights = reference.state_dict()
    values: dict[str, Any] = {**TINY, "probe_depth": 2}
    model = VJEPA2Options(**values).of_source(weights, "transformers").build()
    load_foreign_state_dict(model, weights, source="transformers")
    return model


def test_scores_loss_and_gradients_are_those_of_transformers() -> None:
    reference, labels = theirs(), torch.tensor([1, 5])
    model = as_of(reference)
    expected = reference(pixel_values_videos=clips().transpose(1, 2), labels=labels)
    found = model(clips())
    assert (found - expected.logits).abs().max() < 1e-4 * expected.logits.abs().max()
    loss = F.cross_entropy(found, labels)
    assert loss.item() == pytest.approx(expected.loss.item(), rel=1e-5)
    loss.backward()
    expected.loss.backward()
    with torch.no_grad():
        for weight in model.parameters():
            assert weight.grad is not None
            weight.copy_(weight.grad)
    gradients = {name: weight.grad for name, weight in reference.named_parameters() if weight.grad is not None}
    largest = max(float(gradient.norm()) for gradient in gradients.values())
    found_gradients = foreign_state_dict(model, source="transformers")
    assert found_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():  # those of keys' biases are rounding errors: softmax ignores them
        assert (found_gradients[name] - gradient).norm() < 1e-4 * gradient.norm() + 1e-6 * largest, name


def recorded_weights(shared: Path) -> dict[str, Tensor]:
    projections = r".*\.(attention\.(query|key|value|proj)|(self|cross)_attn\.\w+_proj)\.weight$"
    scales = {projections: 0.5**0.5, r"pooler\.query_tokens$": 96**0.5}
    return parity.state_dict(parity.keys(shared, "vjepa2_small").shapes, scales)


def test_the_recorded_numbers(shared: Path) -> None:
    keys, numbers = parity.keys(shared, "vjepa2_small"), parity.numbers(shared, "vjepa2_small")
    weights = recorded_weights(shared)
    options = VJEPA2Options(frames=16, size=96, width=192, depth=12, heads=3, num_classes=174)
    model = options.of_source(weights, "transformers").build()
    load_foreign_state_dict(model, weights, source="transformers")
    inputs = parity.clips(keys.input_shape, "transformers").transpose(1, 2)
    tokens = parity.tensors(shared, "vjepa2_small")["hidden_every_9th"]
    torch.testing.assert_close(model.tokens(inputs)[:, ::9], tokens, rtol=1e-4, atol=1e-4 * float(tokens.abs().max()))
    logits = model(inputs)
    assert (logits - numbers.logits).abs().max() < 1e-4 * numbers.logits.abs().max()
    loss = F.cross_entropy(logits, parity.labels(2))
    assert loss.item() == pytest.approx(numbers.train_loss, rel=1e-5)
    loss.backward()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.grad)
    found = {
        name: float(value.double().norm()) for name, value in foreign_state_dict(model, source="transformers").items()
    }
    largest = max(numbers.grad_norm.values())
    for name, norm in numbers.grad_norm.items():
        assert found[name] == pytest.approx(norm, rel=1e-4, abs=1e-6 * largest), name


def test_the_authors_code_gives_other_scores_by_its_probes_epsilon(shared: Path) -> None:
    weights = original_state_dict(shared)
    options = VJEPA2Options(frames=16, size=96, width=192, depth=12, heads=3, num_classes=9)
    options = options.of_source(weights, "vjepa2")
    assert (options.num_classes, options.probe_eps) == (174, 1e-5)
    options.probe_heads = 3
    model = options.build().double()
    load_foreign_state_dict(model, weights, source="vjepa2")
    recorded = parity.tensors(shared, "vjepa2_small")
    inputs = parity.clips(parity.keys(shared, "vjepa2_small").input_shape, "vjepa2").transpose(1, 2).double()
    with torch.no_grad():
        found = model(inputs)
    scale = recorded["eval_original"].abs().max()
    assert (found - recorded["eval_original"]).abs().max() < 2e-6 * scale
    assert (found - recorded["eval"]).abs().max() > 2e-6 * scale


def original_state_dict(shared: Path) -> dict[str, Tensor]:
    """The recorded weights under the authors' names, as their checkpoints of encoder and probe have them."""
    weights = recorded_weights(shared)
    names = parity.recorded(shared, "vjepa2_small")["original_to_hf"]
    encoder = {f"module.backbone.{key}": parts for key, parts in names["encoder"].items()}
    probe = {f"module.{key}": parts for key, parts in names["classifier"].items()}
    return {key: torch.cat([weights[part] for part in parts]) for key, parts in (encoder | probe).items()}


def test_every_name_of_transformers_and_of_the_authors(shared: Path) -> None:
    with torch.device("meta"):
        model = VJEPA2Options(width=192, depth=12, heads=3, num_classes=174).build()
    expected = {
        key: shape for key, shape in parity.keys(shared, "vjepa2_small").shapes.items() if ".predictor." not in key
    }
    found = foreign_state_dict(model, source="transformers")
    assert {key: list(value.shape) for key, value in found.items()} == expected
    names = parity.recorded(shared, "vjepa2_small")["original_to_hf"]
    assert set(foreign_names(model, "vjepa2").values()) == {*names["encoder"], *names["classifier"]}


def test_multiply_adds_are_those_recorded(shared: Path) -> None:
    with torch.device("meta"):
        model = VJEPA2Options(frames=16, size=96, width=192, depth=12, heads=3, probe_heads=3, num_classes=174).build()
    _, macs = complexity(model, (1, 3, 16, 96, 96))
    assert round(macs / 1e9, 3) == parity.recorded(shared, "vjepa2_small")["gmacs"]


def test_an_encoder_alone_leaves_the_probe_as_it_is_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    reference, model = theirs(), tiny(num_classes=5)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with caplog.at_level(logging.WARNING):
        load_foreign_state_dict(model, reference.vjepa2.state_dict(), source="transformers")
    assert "(vjepa2.predictor.embeddings.mask_tokens, " in caplog.text
    assert "(pooler.query_tokens, " in caplog.text
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) != key.startswith("backbone."), key
    encoder = reference.vjepa2.encoder
    torch.testing.assert_close(
        model.tokens(clips()), encoder(clips().transpose(1, 2)).last_hidden_state, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("missing", ["pooler.query_tokens", "vjepa2.encoder.layer.1.attention.key.bias"])
def test_weights_that_lack_a_part_are_refused(missing: str) -> None:
    weights = theirs().state_dict()
    del weights[missing]
    model = tiny()
    assert [misfit.key for misfit in foreign_misfits(model, weights, source="transformers")] == [missing]
    with pytest.raises(UserError, match=rf"1 missing \({missing}\)"):
        load_foreign_state_dict(model, weights, source="transformers")


def test_the_authors_encoder_may_hold_positions_and_a_predictor(caplog: pytest.LogCaptureFixture) -> None:
    given = tiny()
    weights = {f"module.backbone.{key}": value for key, value in foreign_state_dict(given, source="vjepa2").items()
               if not key.startswith(("pooler.", "linear."))}  # fmt: skip
    weights |= {
        "module.backbone.pos_embed": torch.zeros(1, 36, 48),
        "module.backbone.predictor_norm.bias": torch.zeros(4),
    }
    with caplog.at_level(logging.WARNING):
        load_foreign_state_dict(model := tiny(), weights, source="vjepa2")
    assert "(pos_embed, predictor_norm.bias)" in caplog.text
    assert "(pooler.query_tokens, " in caplog.text
    assert all(
        torch.equal(value, model.state_dict()[key])
        for key, value in given.backbone.state_dict(prefix="backbone.").items()
    )


def test_rotation_is_the_papers_with_tiled_frequencies() -> None:
    """Each channel by itself, in float64, from the definition."""
    grid, channels = (2, 3, 4), 26  # three thirds of 8 channels, and 2 left over
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(24, channels, dtype=torch.float64, generator=generator)
    expected = x.clone()
    for row in range(24):
        position = (row // 12, row // 4 % 3, row % 4)
        for third, offset in enumerate((0, 8, 16)):
            for i in range(8):
                angle = position[third] / 10000 ** (i % 4 / 4)
                partner = -x[row, offset + i + 1] if i % 2 == 0 else x[row, offset + i - 1]
                expected[row, offset + i] = x[row, offset + i] * math.cos(angle) + partner * math.sin(angle)
    cos, sin = rotary_tables(grid, channels)
    found = rotated(x[None, :, None, None], cos, sin)[0, :, 0, 0]
    assert (found - expected).abs().max() < 4 * 2**-24 * x.abs().max()  # the tables are in float32


@pytest.mark.parametrize("position", [0, 31])
def test_rotation_of_bfloat16_rounds_only_its_result(position: int) -> None:
    cos, sin = rotary_tables((32, 24, 24), 64)
    x = torch.randn(1, 576, 2, 3, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    frame = slice(576 * position, 576 * (position + 1))
    found = rotated(x, cos[frame], sin[frame])
    exact = rotated(x.double(), cos[frame].double(), sin[frame].double())
    assert found.dtype == torch.bfloat16
    assert ((found.double() - exact).abs() <= 2**-8 * exact.abs() + 2**-20 * x.abs().max()).all()


def test_bfloat16_is_as_near_to_float64_as_plain_attention() -> None:
    """Of attention written out, with positions in float32."""
    model = tiny().eval()
    exact = tiny().double().eval()(clips().double())
    with torch.autocast("cpu", torch.bfloat16):
        found = model(clips())
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            plain = model(clips())
    error, usual = ((each.double() - exact).norm() for each in (found, plain))
    assert error < 3 * usual


def test_clips_of_a_video_are_encoded_apart_and_probed_together() -> None:
    model = tiny().eval()
    one, other = clips(), clips().flip(2)
    tokens = model.tokens(torch.cat([one, other], dim=2))
    torch.testing.assert_close(tokens, torch.cat([model.tokens(one), model.tokens(other)], dim=1), rtol=1e-5, atol=1e-5)
    assert model(torch.cat([one, other], dim=2)).shape == (2, 7)
    with pytest.raises(UserError, match="12 frames"):
        model(torch.cat([one, other[:, :, :4]], dim=2))


def saved(model: VJEPA2, part: nn.Module) -> list[Tensor]:
    """Tensors that a training step of `model` stores for the backward pass within `part`, without weights."""
    kept: list[Tensor] = []
    weights = {weight.untyped_storage().data_ptr() for weight in [*model.parameters(), *model.buffers()]}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in weights:
            kept.append(tensor)
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    part.register_forward_pre_hook(lambda *_: hooks.__enter__())
    part.register_forward_hook(lambda *_: hooks.__exit__())
    model(clips()).sum().backward()
    return kept


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_frozen_encoder_is_not_trained(checkpointing: bool) -> None:
    model = tiny(frozen_stages=3, drop_path=0.9, gradient_checkpointing=checkpointing).train()
    assert saved(model, model.backbone) == []
    assert not any(module.training for module in model.backbone.embedding.modules())
    assert not any(module.training for block in model.backbone.blocks for module in block.modules())
    assert all(weight.grad is None for weight in model.backbone.parameters())
    assert all(weight.grad is not None for weight in [*model.neck.parameters(), *model.fc.parameters()])
    held = [
        weight
        for group in make_optimizer(model, AdamW(lr=1.0), total_batch=1).param_groups
        for weight in group["params"]
    ]
    assert {id(weight) for weight in held} == {
        id(weight) for weight in [*model.neck.parameters(), *model.fc.parameters()]
    }
    trained = tiny(drop_path=0.9).train()
    assert saved(trained, trained.backbone) != []
    torch.manual_seed(3)
    first = trained.tokens(clips())
    assert not torch.equal(first, trained.tokens(clips()))  # whose blocks drop branches
    assert torch.equal(model.tokens(clips()), model.tokens(clips()))


@pytest.mark.parametrize(
    ("recipe", "config"),
    [
        ("vjepa2_l_16x4_sthv2", {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}),
        ("vjepa2_h_16x4_sthv2", {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 16}),
        (
            "vjepa2_g384_64x2_sthv2",
            {"hidden_size": 1408, "num_hidden_layers": 40, "num_attention_heads": 22, "mlp_ratio": 48 / 11},
        ),
    ],
)
def test_sizes_are_those_of_transformers(recipe: str, config: dict[str, Any]) -> None:
    with torch.device("meta"):
        model = config_of(recipe).model.build()
        reference = transformers.VJEPA2ForVideoClassification(transformers.VJEPA2Config(**config, num_labels=174))
    weights = {key: value for key, value in reference.state_dict().items() if ".predictor." not in key}
    assert {key: value.shape for key, value in foreign_state_dict(model, source="transformers").items()} == {
        key: value.shape for key, value in weights.items()
    }


@pytest.mark.parametrize(("recipe", "millions"), [("vjepa2_l_16x4_sthv2", 303.9), ("vjepa2_g_16x4_sthv2", 1012.2)])
def test_parameters_of_the_encoder(recipe: str, millions: float) -> None:
    with torch.device("meta"):
        encoder = config_of(recipe).model.build().backbone
    assert sum(weight.numel() for weight in encoder.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)


@pytest.mark.parametrize(("values", "words"), [({"probe_heads": 5}, "probe_heads 5"), ({"tubelet": 3}, "tubelet 3")])
def test_options_that_do_not_fit_each_other_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VJEPA2Options(**{**TINY, **PROBE, **values})
