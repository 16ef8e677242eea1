"""VideoMAE: what transformers computes, names of its checkpoints, sizes of the paper."""

import logging
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import VideoMAEConfig, VideoMAEForPreTraining, VideoMAEForVideoClassification

from kinema.errors import UserError
from kinema.models.complexity import complexity
from kinema.models.foreign import foreign_names, foreign_state_dict, load_foreign_state_dict
from kinema.models.transformer import TubeletEmbedding, sin_cos_positions
from kinema.models.videomae import VideoMAEOptions
from kinema.recipes import build_model
from kinema.training import AdamW
from kinema.training.optimization.optimizer import parameter_groups
from tests.models import parity
from tests.models.hugging_face import check_equal, randomized

CONFIG = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=3, num_attention_heads=3,
    intermediate_size=60, num_labels=5, decoder_hidden_size=12, decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2, decoder_intermediate_size=24, use_mean_pooling=True,
)  # fmt: skip
OPTIONS = VideoMAEOptions(frames=4, size=32, patch=8, width=24, depth=3, heads=3, mlp_ratio=2.5, num_classes=5)


def clips(count: int = 2) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(count, 3, 4, 32, 32)


@pytest.fixture(scope="module")
def theirs() -> VideoMAEForVideoClassification:
    network: VideoMAEForVideoClassification = randomized(VideoMAEForVideoClassification(CONFIG))
    return network


def test_scores_loss_and_gradients_are_those_of_transformers(theirs: VideoMAEForVideoClassification) -> None:
    options = OPTIONS.of_source(theirs.state_dict(), "transformers")
    assert (options.norm_eps, options.head_norm_eps) == (CONFIG.layer_norm_eps, theirs.fc_norm.eps)
    ours = options.build()
    load_foreign_state_dict(ours, theirs.state_dict(), source="transformers")
    check_equal(ours, theirs, clips())


def test_transformers_4_has_other_names_of_the_biases(theirs: VideoMAEForVideoClassification) -> None:
    weights = {
        key.replace("query.bias", "q_bias").replace("value.bias", "v_bias"): value
        for key, value in theirs.state_dict().items()
    }
    assert "videomae.encoder.layer.0.attention.attention.q_bias" in weights
    ours = OPTIONS.build()
    load_foreign_state_dict(ours, weights, source="transformers")
    found = foreign_state_dict(ours, source="transformers")
    assert all(torch.equal(found[key], value) for key, value in theirs.state_dict().items())
    del weights["videomae.encoder.layer.1.attention.attention.v_bias"]
    with pytest.raises(
        UserError, match=r"1 missing \(videomae\.encoder\.layer\.1\.attention\.attention\.value\.bias\)"
    ):
        load_foreign_state_dict(ours, weights, source="transformers")


def test_the_repositorys_names(theirs: VideoMAEForVideoClassification) -> None:
    """It joins queries, keys and values: `qkv.weight`, `q_bias`, `v_bias`."""
    given, taker = OPTIONS.build(), OPTIONS.build()
    load_foreign_state_dict(given, theirs.state_dict(), source="transformers")
    weights = foreign_state_dict(given, source="videomae")
    attention = theirs.videomae.encoder.layer[1].attention.attention
    joined = torch.cat([attention.query.weight, attention.key.weight, attention.value.weight])
    assert torch.equal(weights["blocks.1.attn.qkv.weight"], joined)
    assert torch.equal(weights["blocks.1.attn.q_bias"], attention.query.bias)
    assert torch.equal(weights["blocks.1.attn.v_bias"], attention.value.bias)
    assert torch.equal(weights["head.weight"], theirs.classifier.weight)
    load_foreign_state_dict(taker, weights, source="videomae")
    assert torch.equal(taker.eval()(clips()), given.eval()(clips()))


def test_of_a_pre_training_checkpoint_the_encoder_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    """By name, of transformers and of the repository; what is left out and what stays untrained is said."""
    pretrained = randomized(VideoMAEForPreTraining(CONFIG)).state_dict()
    ours = OPTIONS.build()
    head = [ours.fc.weight.clone(), ours.neck.weight.clone()]
    with caplog.at_level(logging.WARNING):
        load_foreign_state_dict(ours, pretrained, source="transformers")
    assert "mask_token" in caplog.text
    assert "4 keys (fc_norm.weight, fc_norm.bias, classifier.weight, …) keep their initial values" in caplog.text
    assert torch.equal(ours.fc.weight, head[0])
    assert torch.equal(ours.neck.weight, head[1])
    found = foreign_state_dict(ours, source="transformers")
    encoder = {key for key in pretrained if key.startswith("videomae.")}
    assert len(encoder) == 2 + 3 * 15
    assert all(torch.equal(found[key], pretrained[key]) for key in encoder)

    named = {f"encoder.{key}": value for key, value in foreign_state_dict(ours, source="videomae").items()}
    named = {key: value for key, value in named.items() if "head" not in key and "fc_norm" not in key}
    named |= {"encoder.norm.weight": torch.ones(24), "mask_token": torch.zeros(1, 1, 12)}
    named |= {"decoder.blocks.0.attn.q_bias": torch.zeros(12), "encoder_to_decoder.weight": torch.zeros(12, 24)}
    taker = OPTIONS.build()
    caplog.clear()
    load_foreign_state_dict(taker, named, source="videomae")
    assert "decoder.blocks.0.attn.q_bias" in caplog.text
    assert all(
        torch.equal(value, ours.backbone.state_dict()[key]) for key, value in taker.backbone.state_dict().items()
    )
    del named["encoder.blocks.0.attn.q_bias"]
    with pytest.raises(UserError, match=r"1 missing \(blocks\.0\.attn\.q_bias\)"):
        load_foreign_state_dict(taker, named, source="videomae")


def test_a_token_is_a_convolution_of_its_tubelet() -> None:
    torch.manual_seed(0)
    embedding = TubeletEmbedding(channels=3, width=7, tubelet=2, patch=4, frames=6, size=12).double()
    x = torch.randn(2, 3, 6, 12, 12, dtype=torch.float64)
    expected = F.conv3d(x, embedding.proj.weight, embedding.proj.bias, stride=(2, 4, 4)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(embedding(x), expected, rtol=1e-12, atol=1e-12)


def test_positions_are_sines_and_cosines() -> None:
    table = sin_cos_positions(50, 6)
    for position in (0, 1, 49):
        for channel in range(6):
            angle = position / 10000 ** (2 * (channel // 2) / 6)
            expected = math.cos(angle) if channel % 2 else math.sin(angle)
            assert table[position, channel].item() == pytest.approx(expected, abs=2**-24)


def test_positions_are_no_weights() -> None:
    model = OPTIONS.build()
    assert model.backbone.positions.shape == (2 * 4 * 4, 24)
    assert not [key for key in model.state_dict() if "position" in key]


def test_cosine_attention_is_the_formula() -> None:
    """Softmax over τ · cos(q, k), with τ at most 100 (Liu et al., 2022, equation 2)."""
    torch.manual_seed(0)
    options = VideoMAEOptions(frames=2, size=16, patch=8, width=8, depth=1, heads=2, cos_attn=True)
    attention = randomized(options.build().double()).backbone.blocks[0].attn
    attention.scale.data = torch.tensor([math.log(3), 7.0], dtype=torch.float64)
    x = torch.randn(2, 4, 8, dtype=torch.float64)
    w_q, w_k, w_v = attention.qkv.weight.chunk(3)
    q, k, v = x @ w_q.T + attention.q_bias, x @ w_k.T, x @ w_v.T + attention.v_bias
    heads = []
    for head, factor in enumerate((3.0, 100.0)):
        part = slice(4 * head, 4 * head + 4)
        cosine = F.cosine_similarity(q[:, :, None, part], k[:, None, :, part], dim=3)
        heads.append((factor * cosine).softmax(dim=2) @ v[:, :, part])
    torch.testing.assert_close(attention(x), attention.proj(torch.cat(heads, dim=2)), rtol=1e-10, atol=1e-10)


def test_the_factors_of_cosine_attention_have_the_shape_that_v2_gives_them() -> None:
    given, taker = (replace(OPTIONS, cos_attn=True).build() for _ in range(2))
    nn.init.normal_(given.backbone.blocks[1].attn.scale)
    weights = foreign_state_dict(given, source="videomae")
    assert weights["blocks.1.attn.scale"].shape == (3, 1, 1)
    load_foreign_state_dict(taker, weights, source="videomae")
    assert torch.equal(taker.backbone.blocks[1].attn.scale, given.backbone.blocks[1].attn.scale)


@pytest.mark.parametrize("shape", [(2, 3, 4, 32, 40), (2, 3, 8, 32, 32), (2, 3, 4, 16, 16)])
def test_clips_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        UserError, match=rf"{shape[2]} frames of {shape[3]}×{shape[4]} px.* takes 4 of 32×32.*model\.size"
    ):
        OPTIONS.build()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"heads": 5}, "heads 5 must divide width 24"),
        ({"patch": 7}, "patch 7 must divide size 32"),
        ({"tubelet": 3}, "tubelet 3 must divide frames 4"),
        ({"frozen_stages": 4}, "frozen_stages 4 must not exceed depth 3"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(values: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        VideoMAEOptions(**{"frames": 4, "size": 32, "patch": 8, "width": 24, "depth": 3, "heads": 3, **values})


def test_rates_decay_with_depth_as_in_the_paper() -> None:
    """The embedding is layer 0, block i layer i + 1, the last norm and the head layer 4, with the full rate."""
    model = OPTIONS.build()
    options = AdamW(lr=1.0, layer_decay=0.5, decay_norm_and_bias=False)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in parameter_groups(model, options, 1.0)
             for p in group["params"]}  # type: ignore[attr-defined]  # fmt: skip
    for key, parameter in model.named_parameters():
        name = foreign_names(model, "videomae")[key]
        layer = 0 if "patch_embed" in name else int(name.split(".")[1]) + 1 if "blocks" in name else 4
        assert found[id(parameter)] == (0.5 ** (4 - layer), 0.05 if parameter.dim() > 1 else 0.0), name


def test_branches_are_dropped_more_often_with_depth() -> None:
    rates = [block.drop_path.p for block in VideoMAEOptions(depth=5, drop_path=0.2).build().backbone.blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize(
    ("recipe", "millions", "gmacs"),
    [
        ("videomae_s_16x4_kinetics400", 22, 57),
        ("videomae_b_16x4_kinetics400", 87, 180),
        ("videomae_l_16x4_kinetics400", 304, 597),
        ("videomae_h_16x4_kinetics400", 632, 1191),
    ],
)
def test_sizes_are_those_of_the_paper(recipe: str, millions: int, gmacs: int) -> None:
    """Parameters and multiply-adds of its table of Kinetics-400; of ViT-H it has 633 M and 1192 G."""
    with torch.device("meta"):
        model = build_model(recipe)
    parameters, macs = complexity(model, (1, 3, 16, 224, 224))
    assert (round(parameters / 1e6), round(macs / 1e9)) == (millions, gmacs)


def test_every_key_has_its_place(shared: Path) -> None:
    with torch.device("meta"):
        weights = foreign_state_dict(VideoMAEOptions().build(), source="transformers")
    assert {key: list(value.shape) for key, value in weights.items()} == parity.keys(shared, "videomae_vit_b16").shapes


@pytest.mark.slow
def test_vit_b_computes_the_recorded_numbers(shared: Path) -> None:
    expected = parity.numbers(shared, "videomae_vit_b16")
    model = VideoMAEOptions().of_source({}, "transformers").build()
    weights = parity.state_dict(
        parity.keys(shared, "videomae_vit_b16").shapes,
        {r".*\.attention\.(attention\.(query|key|value)|output\.dense)\.weight$": 0.5**0.5},
    )
    load_foreign_state_dict(model, weights, source="transformers")
    x = parity.clips(parity.keys(shared, "videomae_vit_b16").input_shape, "transformers").transpose(1, 2)
    logits = model.eval()(x)
    assert (logits - expected.logits).abs().max() < 1e-4 * expected.logits.abs().max()
    loss = F.cross_entropy(logits, parity.labels(1))
    assert loss.item() == pytest.approx(expected.train_loss, rel=1e-4)
    loss.backward()
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.data = parameter.grad
    norms = {
        key: value.double().norm().item() for key, value in foreign_state_dict(model, source="transformers").items()
    }
    largest = max(expected.grad_norm.values())
    assert norms == pytest.approx(expected.grad_norm, rel=1e-4, abs=1e-6 * largest)
