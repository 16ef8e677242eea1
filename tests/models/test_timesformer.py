"""TimeSformer: what transformers computes, names of its checkpoints, sizes of the paper."""

import pytest
import torch
from torch import Tensor
from transformers import TimesformerConfig, TimesformerForVideoClassification

from kinema.errors import UserError
from kinema.models.complexity import complexity
from kinema.models.foreign import foreign_state_dict, load_foreign_state_dict
from kinema.models.timesformer import TimeSformerOptions
from kinema.recipes import build_model
from tests.models.hugging_face import check_equal, randomized

CONFIG = TimesformerConfig(
    image_size=24, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=3, num_attention_heads=3,
    intermediate_size=60, num_labels=5,
)  # fmt: skip
OPTIONS = TimeSformerOptions(frames=4, size=24, patch=8, width=24, depth=3, heads=3, mlp_ratio=2.5, num_classes=5)


def clips(count: int = 2) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 3, 4, 24, 24)


@pytest.fixture(scope="module")
def theirs() -> TimesformerForVideoClassification:
    network: TimesformerForVideoClassification = randomized(TimesformerForVideoClassification(CONFIG))
    return network


def test_scores_loss_and_gradients_are_those_of_transformers(theirs: TimesformerForVideoClassification) -> None:
    options = OPTIONS.of_source(theirs.state_dict(), "transformers")
    assert options.norm_eps == CONFIG.layer_norm_eps
    ours = options.build()
    load_foreign_state_dict(ours, theirs.state_dict(), source="transformers")
    check_equal(ours, theirs, clips())


def test_the_repositorys_names(theirs: TimesformerForVideoClassification) -> None:
    given, taker = OPTIONS.build(), OPTIONS.build()
    load_foreign_state_dict(given, theirs.state_dict(), source="transformers")
    weights = foreign_state_dict(given, source="timesformer")
    layer = theirs.timesformer.encoder.layer[1]
    assert torch.equal(weights["blocks.1.temporal_attn.qkv.bias"], layer.temporal_attention.attention.qkv.bias)
    assert torch.equal(weights["blocks.1.temporal_fc.weight"], layer.temporal_dense.weight)
    assert torch.equal(weights["blocks.1.norm1.weight"], layer.layernorm_before.weight)
    assert torch.equal(weights["norm.weight"], theirs.timesformer.layernorm.weight)
    assert torch.equal(weights["time_embed"], theirs.timesformer.embeddings.time_embeddings)
    load_foreign_state_dict(taker, {f"model.{key}": value for key, value in weights.items()}, source="timesformer")
    assert torch.equal(taker.eval()(clips()), given.eval()(clips()))
    with pytest.raises(UserError, match=r"1 missing \(time_embed\)"):
        load_foreign_state_dict(taker, {k: v for k, v in weights.items() if k != "time_embed"}, source="timesformer")


def test_the_class_token_is_the_same_in_all_frames() -> None:
    model = randomized(OPTIONS.build())
    x = model.backbone.embedding(clips())
    for block in model.backbone.blocks:
        x = block(x)
        torch.testing.assert_close(x[:, :, 0], x[:, :1, 0].expand(-1, 4, -1))


def test_attention_over_time_begins_with_the_first_block_alone() -> None:
    blocks = OPTIONS.build().backbone.blocks
    assert [bool(block.temporal_fc.weight.any()) for block in blocks] == [True, False, False]


def test_clips_of_another_size_are_refused() -> None:
    with pytest.raises(UserError, match=r"8 frames of 24×24 px.* takes 4 of 24×24.*model\.frames"):
        OPTIONS.build()(torch.zeros(1, 3, 8, 24, 24))


@pytest.mark.parametrize(
    ("recipe", "frames", "size", "tera"),
    [
        ("timesformer_b_8x32_kinetics400", 8, 224, 0.59),
        ("timesformer_hr_16x16_kinetics400", 16, 448, 5.11),
        ("timesformer_l_96x4_kinetics400", 96, 224, 7.14),
    ],
)
def test_computations_are_those_of_the_paper(recipe: str, frames: int, size: int, tera: float) -> None:
    """Multiply-adds of three views, which its tables call TFLOPs."""
    with torch.device("meta"):
        model = build_model(recipe)
    _, macs = complexity(model, (1, 3, frames, size, size))
    assert 3 * macs / 1e12 == pytest.approx(tera, rel=5e-3)


def test_parameters_are_those_of_transformers() -> None:
    """121.4 M in the paper."""
    with torch.device("meta"):
        ours = TimeSformerOptions().build()
        theirs = TimesformerForVideoClassification(TimesformerConfig(num_labels=400))
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in (ours, theirs)]
    assert counts[0] == counts[1]
    assert counts[0] / 1e6 == pytest.approx(121.4, abs=0.2)
