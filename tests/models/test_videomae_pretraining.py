"""VideoMAE's pre-training: what transformers computes, names of its checkpoints, targets by a plain formula."""

import pytest
import torch
from torch import Tensor
from transformers import VideoMAEConfig, VideoMAEForPreTraining

from kinema.models.foreign import foreign_state_dict, load_foreign_state_dict
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD
from kinema.models.videomae_pretraining import VideoMAEPretraining, VideoMAEPretrainingOptions
from tests.models.hugging_face import randomized

CONFIG = VideoMAEConfig(
    image_size=32, patch_size=8, num_frames=4, hidden_size=24, num_hidden_layers=3, num_attention_heads=3,
    intermediate_size=60, decoder_hidden_size=12, decoder_num_hidden_layers=2, decoder_num_attention_heads=2,
    decoder_intermediate_size=24, use_mean_pooling=False,
)  # fmt: skip
OPTIONS = VideoMAEPretrainingOptions(
    frames=4, size=32, patch=8, width=24, depth=3, heads=3, mlp_ratio=2.5, decoder_width=12, decoder_depth=2,
    decoder_heads=2, decoder_mlp_ratio=2.0, norm_eps=1e-12, decoder_norm_eps=1e-5,
)  # fmt: skip
TOKENS = 2 * 4 * 4


def masked(count: int, clips: int = 2) -> Tensor:
    """A mask of `count` of the tokens of each clip, (N, L)."""
    torch.manual_seed(2)
    return torch.stack([torch.randperm(TOKENS) < count for _ in range(clips)])


def numbers(mask: Tensor) -> Tensor:
    return torch.stack([row.nonzero().flatten() for row in mask])


def pixels(clips: int = 2) -> Tensor:
    torch.manual_seed(1)
    return torch.randint(256, (clips, 3, 4, 32, 32), dtype=torch.uint8)


def as_theirs(clips: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(3, 1, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return ((clips - mean) / std).transpose(1, 2)


@pytest.fixture(scope="module")
def theirs() -> VideoMAEForPreTraining:
    network: VideoMAEForPreTraining = randomized(VideoMAEForPreTraining(CONFIG))
    return network.double()


def ours_of(theirs: VideoMAEForPreTraining) -> VideoMAEPretraining:
    ours = OPTIONS.build()
    load_foreign_state_dict(ours, theirs.state_dict(), source="transformers")
    return ours.double()


@pytest.mark.parametrize("normalize", [True, False])
def test_loss_and_gradients_are_those_of_transformers(theirs: VideoMAEForPreTraining, normalize: bool) -> None:
    ours, mask, clips = ours_of(theirs), masked(28), pixels()
    theirs.config.norm_pix_loss = normalize
    theirs.zero_grad()
    expected = theirs(as_theirs(clips).double(), bool_masked_pos=mask)
    expected.loss.backward()
    found = ours(clips, numbers(~mask), numbers(mask))
    loss = (found - ours.targets(clips, numbers(mask), normalize=normalize)).square().mean()
    loss.backward()
    torch.testing.assert_close(found, expected.logits, rtol=1e-9, atol=1e-9)
    # Their targets come from normalized pixels and back, in the dtype of the clips.
    torch.testing.assert_close(loss, expected.loss, rtol=1e-5, atol=0)
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    own = {name: parameter.grad for name, parameter in ours.named_parameters()}
    assert all(gradient is not None and gradient.abs().max() > 0 for gradient in own.values())
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.copy_(own[name])
    for name, value in foreign_state_dict(ours, source="transformers").items():
        if name.endswith("key.bias"):
            continue
        scale = float(gradients[name].abs().max())
        torch.testing.assert_close(value, gradients[name], rtol=1e-4, atol=1e-4 * scale, msg=name)


def test_the_repositorys_names(theirs: VideoMAEForPreTraining) -> None:
    """Those of `videomae_vit_b` checkpoints: encoder and decoder each with blocks, queries, keys and values joined."""
    ours, other = ours_of(theirs), OPTIONS.build()
    weights = foreign_state_dict(ours, source="videomae")
    assert {name.partition(".")[0] for name in weights} == {"encoder", "decoder", "encoder_to_decoder", "mask_token"}
    assert weights["mask_token"].shape == (1, 1, 12)
    assert weights["encoder.blocks.2.attn.qkv.weight"].shape == (72, 24)
    assert weights["decoder.blocks.1.attn.q_bias"].shape == (12,)
    load_foreign_state_dict(other, weights, source="videomae")
    for name, value in other.state_dict().items():
        torch.testing.assert_close(value, ours.state_dict()[name].float(), msg=name)


def test_targets_are_the_papers() -> None:
    """Each token's pixels minus their mean, over their standard deviation, channel by channel, written plainly."""
    ours, clips = OPTIONS.build(), pixels(1)
    decoded = torch.tensor([[0, 5, 31]])
    found = ours.targets(clips, decoded, normalize=True)
    for row, token in enumerate(decoded[0].tolist()):
        t, y, x = token // 16, token // 4 % 4, token % 4
        box = clips[0, :, 2 * t : 2 * t + 2, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8].double() / 255
        for channel in range(3):
            values = box[channel].flatten()
            expected = (values - values.mean()) / (values.std() + 1e-6)
            torch.testing.assert_close(found[0, row, channel::3].double(), expected, rtol=1e-4, atol=1e-4)


def test_hidden_tokens_do_not_reach_the_encoder() -> None:
    ours, mask = OPTIONS.build().eval(), masked(28, clips=1)
    clips = pixels(1)
    others = clips.clone()
    for token in numbers(mask)[0].tolist():
        t, y, x = token // 16, token // 4 % 4, token % 4
        others[0, :, 2 * t : 2 * t + 2, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8] ^= 255
    with torch.no_grad():
        found = [ours(each, numbers(~mask), numbers(mask)) for each in (clips, others)]
    assert torch.equal(*found)


def test_the_encoder_is_the_recognizers() -> None:
    ours, recognizer = OPTIONS.build(), OPTIONS.pretrains().build()
    backbone = {name for name in recognizer.state_dict() if name.startswith("backbone.")}
    assert backbone == {name for name in ours.state_dict() if name.startswith("backbone.")}
    recognizer.load_state_dict(ours.state_dict(), strict=False)
    everything = torch.arange(TOKENS).expand(2, -1)
    clips = pixels()
    with torch.no_grad():
        tokens = ours.backbone.encode_tokens(ours.normalize(clips), everything)
        maps = recognizer.backbone(recognizer.normalize(clips))
    torch.testing.assert_close(tokens.transpose(1, 2).unflatten(2, (2, 4, 4)), maps)
