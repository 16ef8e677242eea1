"""Explanations: Grad-CAM and rollout against plain formulas, heat on known objects, the command."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.api import load
from kinema.cli import main
from kinema.data.sampling import sample_test
from kinema.errors import UserError
from kinema.models.attention_gradient import AttentionGradient, watched_attention
from kinema.models.capabilities import HasAttention
from kinema.models.slowfast import SlowFast
from kinema.prepare.drawn.motion import FRAMES, HEIGHT, WIDTH, Track
from kinema.prepare.drawn.scene import Scene, random_scene, render
from kinema.report.explanation.heat import GRAD_CAM, ROLLOUT, grad_cam, heat_of, method_of
from tests.models.families import RECOGNIZERS, small_options

TRANSFORMERS = {"videomae", "timesformer", "vjepa2"}


def _clips(count: int = 2, frames: int = 8, size: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, 3, frames, size, size), dtype=torch.uint8, generator=generator)


def _network(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return small_options(name, **options).build().eval()


def _normalized(model: Any, clips: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).view(-1, 1, 1, 1) for values in (model.input.mean, model.input.std))
    return (clips.float() - mean) / std


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_every_network_is_explained(name: str) -> None:
    model = _network(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    # Of a network with random weights, a class may have no positive evidence.
    heat = torch.stack([heat_of(model, _clips(), target) for target in range(3)]).sum(0)
    assert method_of(model) == (ROLLOUT if name in TRANSFORMERS else GRAD_CAM)
    assert heat.shape[0] == 2
    assert heat.ndim == 4
    assert min(heat.shape[2:]) >= 2  # it knows where
    assert heat.isfinite().all()
    assert (heat >= 0).all()
    assert heat.amax() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["slowonly", "r2plus1d", "tsm"])
def test_clips_of_a_batch_are_explained_separately(name: str) -> None:
    model, clips = _network(name), _clips()
    together = heat_of(model, clips, 0)
    for clip, heat in zip(clips, together, strict=True):
        torch.testing.assert_close(heat_of(model, clip[None], 0)[0], heat, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["slowonly", "i3d", "s3d", "swin3d", "tsn"])
def test_grad_cam_is_that_of_plain_autograd(name: str) -> None:
    """Equations 1 and 2 of Selvaraju et al. (2017), by hooks, on what the head averages."""
    model, clips = _network(name), _clips(1)
    kept: dict[str, Tensor] = {}
    layer = model.map_layer()

    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        kept["maps"] = output
        output.register_hook(lambda gradient: kept.update(slopes=gradient))

    handle = layer.register_forward_hook(hook)
    model(_normalized(model, clips))[0, 3].backward()
    handle.remove()
    maps, slopes = kept["maps"].detach(), kept["slopes"]
    if maps.ndim == 4:  # frames of a 2D network
        maps, slopes = (value.unsqueeze(0).transpose(1, 2) for value in (maps, slopes))
    plain = torch.zeros(maps.shape[2:])
    for channel in range(maps.shape[1]):
        plain += slopes[0, channel].mean() * maps[0, channel]
    plain = plain.clamp(min=0)
    model.zero_grad()
    torch.testing.assert_close(grad_cam(model, clips, 3)[0], plain, rtol=1e-3, atol=1e-6 * float(plain.max()) + 1e-9)


def test_grad_cam_of_pathways_adds_up_to_the_score() -> None:
    """With a linear head on averages, the sum over positions of all pathways' maps is the score without its bias."""
    model, clips = _network("slowfast"), _clips(1, frames=16)
    assert isinstance(model, SlowFast)
    with torch.no_grad():
        fast, slow = model.feature_maps(clips)
        weight = model.fc.weight[2]
        split = fast.shape[1]
        by_position = torch.einsum("c,cthw->thw", weight[:split], fast[0]) / fast[0, 0].numel()
        other = torch.einsum("c,cthw->thw", weight[split:], slow[0]) / slow[0, 0].numel()
        finest = F.interpolate(other[None, None], size=by_position.shape, mode="trilinear")[0, 0]
        score = model(clips)[0, 2] - model.fc.bias[2]
    torch.testing.assert_close(by_position.sum() + other.sum(), score, rtol=1e-3, atol=1e-5)
    expected = (by_position + finest).clamp(min=0)
    torch.testing.assert_close(grad_cam(model, clips, 2)[0], expected, rtol=1e-3, atol=1e-6)


def _attention_by_hand(model: Any, clips: Tensor, target: int, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Mean over heads of max(∇A ⊙ A, 0) of each attention, in the order of the forward pass, by a loop over heads."""
    seen: list[Tensor] = []

    def plain(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
        weights = torch.softmax(torch.einsum("nhqd,nhkd->nhqk", q, k) * (scale or q.shape[-1] ** -0.5), dim=-1)
        weights.retain_grad()
        seen.append(weights)
        return torch.einsum("nhqk,nhkd->nqhd", weights, v).flatten(2)

    with monkeypatch.context() as patch:
        for module in ("transformer", "videomae", "vjepa2", "attentive_probe"):
            patch.setattr(f"kinema.models.{module}.attend", plain)
        model(_normalized(model, clips).requires_grad_())[:, target].sum().backward()
    result = []
    for weights in seen:
        heads = [(weights.grad[:, h] * weights[:, h]).clamp(min=0) for h in range(weights.shape[1])]
        result.append(sum(heads).detach() / len(heads))
    model.zero_grad()
    return result


def test_rollout_of_videomae_is_the_product_of_all_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    model, clips = _network("videomae"), _clips(1)
    layers = _attention_by_hand(model, clips, 1, monkeypatch)
    relevance = torch.eye(layers[0].shape[1])
    for layer in layers:  # equation 6 of Chefer et al. (2021)
        relevance = relevance + layer[0] @ relevance
    plain = (relevance - torch.eye(len(relevance))).mean(dim=0)
    torch.testing.assert_close(heat_of(model, clips, 1).flatten(), plain, rtol=1e-3, atol=1e-7)


def test_rollout_of_timesformer_is_that_of_one_graph_of_all_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model, clips = _network("timesformer"), _clips(1)
    layers = _attention_by_hand(model, clips, 1, monkeypatch)
    frames, tokens = layers[1].shape[:2]
    number = torch.arange(frames * tokens).view(frames, tokens)  # token 0 of a frame is its class token
    relevance = torch.eye(number.numel())
    for over_time, over_space in zip(layers[0::2], layers[1::2], strict=True):
        step = torch.eye(number.numel())
        for patch in range(tokens - 1):
            at = number[:, patch + 1]
            step[at[:, None], at[None]] += over_time[patch]
        relevance = step @ relevance
        step = torch.eye(number.numel())
        for frame in range(frames):
            at = number[frame]
            step[at[:, None], at[None]] += over_space[frame]
        relevance = step @ relevance
        mean = torch.eye(number.numel())
        at = number[:, 0]
        mean[at[:, None], at[None]] = 1 / frames
        relevance = mean @ relevance
    plain = relevance[number[0, 0]].view(frames, tokens)[:, 1:]
    torch.testing.assert_close(heat_of(model, clips, 1).flatten(), plain.flatten(), rtol=1e-3, atol=1e-7)


def test_rollout_of_vjepa2_begins_at_the_query_of_its_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    model, clips = _network("vjepa2"), _clips(1)
    *layers, cross = _attention_by_hand(model, clips, 1, monkeypatch)
    relevance = torch.eye(layers[0].shape[1])
    for layer in layers:
        relevance = relevance + layer[0] @ relevance
    torch.testing.assert_close(heat_of(model, clips, 1).flatten(), (cross[0] @ relevance)[0], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", sorted(TRANSFORMERS))
def test_watching_changes_no_score(name: str) -> None:
    model, clips = _network(name), _clips()
    assert isinstance(model, HasAttention)
    expected = model(clips)
    seen: list[AttentionGradient] = []
    with watched_attention(seen.append):
        scores = model(clips)
        assert torch.equal(scores, expected)
        scores.sum().backward()
    assert seen
    seen.clear()
    model(clips).sum().backward()
    assert not seen  # it ends


@pytest.mark.parametrize("name", sorted(TRANSFORMERS))
def test_no_attention_matrix_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the backward pass keeps grows with the tokens, not with their square; queries are computed in parts."""
    model, clips = _network(name, depth=2, size=64, patch=4, width=16), _clips(1)
    whole = heat_of(model, clips, 1)
    saved: list[int] = []
    weights: list[int] = []  # of one head

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel())
        return tensor

    def watched(layer: AttentionGradient, relevance: Tensor) -> Tensor:
        weights.append(len(layer.q) * layer.q.shape[2] * layer.k.shape[2])
        return pass_on(layer, relevance)

    pass_on = AttentionGradient.pass_on
    monkeypatch.setattr(AttentionGradient, "pass_on", watched)
    monkeypatch.setattr("kinema.models.attention_gradient._PRODUCTS", 50_000)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        parts = heat_of(model, clips, 1)
    assert max(saved) < max(weights)
    torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", ["videomae", "vjepa2"])
def test_recomputed_blocks_are_watched_once(name: str) -> None:
    clips = _clips(1)
    expected = heat_of(_network(name), clips, 1)
    torch.testing.assert_close(heat_of(_network(name, gradient_checkpointing=True), clips, 1), expected)


def test_a_network_without_either_is_refused() -> None:
    class Own(nn.Module):
        pass

    with pytest.raises(UserError, match=r"kinema explain needs a model with feature maps .* which Own does not have"):
        method_of(Own())


def _scene(seed: int) -> Scene:
    return random_scene("moving_right", np.random.default_rng(seed))


def _boxes(tracks: list[Track]) -> np.ndarray:
    """Mask (T, H, W) of the squares around large objects."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    inside = np.zeros((FRAMES, HEIGHT, WIDTH), bool)
    for track in tracks:
        for t in range(FRAMES):
            inside[t] |= (abs(x - track.x[t]) <= track.radius[t]) & (abs(y - track.y[t]) <= track.radius[t])
    return inside


def _drawn(count: int, first: int) -> tuple[Tensor, Tensor, list[np.ndarray]]:
    """Clips with moving objects (class 1) and the same scenes without them (class 0), four frames of 96×96 px."""
    clips, boxes = [], []
    shown, left = np.linspace(2, FRAMES - 3, 4).astype(int), (WIDTH - HEIGHT) // 2
    for seed in range(first, first + count):
        scene = _scene(seed)
        moving = list(scene.actors[-2:])
        without = Scene(background=scene.background, actors=scene.actors[:-2])
        for each in (without, scene):
            frames = render(each)[shown][:, :, left : left + HEIGHT]
            clips.append(torch.from_numpy(frames.copy()).permute(3, 0, 1, 2))
        boxes.append(_boxes([actor.track for actor in moving])[shown][:, :, left : left + HEIGHT])
    return torch.stack(clips), torch.tensor([0, 1] * count), boxes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "steps", "rate", "options"),
    [
        ("slowonly", 40, 3e-3, {"width": 16}),
        ("videomae", 150, 1e-3, {"width": 48, "depth": 3, "heads": 3, "frames": 4, "size": 96, "patch": 12}),
    ],
)
def test_heat_lies_on_the_moving_objects(name: str, steps: int, rate: float, options: dict[str, Any]) -> None:
    """Heat within the known boxes of what tells the classes apart, beside a map of random values."""
    model = _network(name, dropout=0, drop_path=0, num_classes=2, **options)
    clips, labels, _ = _drawn(48, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:  # warm-up, and a lower rate at the end
            group["lr"] = rate * min(1, (step + 1) / 10) * (1 if step < 0.7 * steps else 0.2)
        rows = torch.randint(len(clips), (16,), generator=generator)
        loss = F.cross_entropy(model(clips[rows]), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    clips, labels, boxes = _drawn(12, 1000)
    accuracy = (model(clips).argmax(1) == labels).float().mean()
    assert accuracy > 0.6
    inside, by_chance, area = [], [], []
    rng = np.random.default_rng(0)
    for clip, box in zip(clips[1::2], boxes, strict=True):
        heat = heat_of(model, clip[None], 1)
        random = torch.from_numpy(rng.random(heat.shape)).float()
        for values, shares in ((heat, inside), (random, by_chance)):
            fine = F.interpolate(values[None], size=box.shape, mode="trilinear")[0, 0].numpy()
            shares.append(float(fine[box].sum() / fine.sum()))
        area.append(box.mean())
    assert np.mean(by_chance) == pytest.approx(np.mean(area), rel=0.25)  # the measure itself
    print(f"{name}: accuracy {accuracy:.2f}, heat in the boxes {np.mean(inside):.2f}, of a random map "
          f"{np.mean(by_chance):.2f}, area {np.mean(area):.2f}")  # fmt: skip
    assert np.mean(inside) > 1.2 * np.mean(by_chance)


def test_command(tiny_run: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = next((sample / "val" / "growing").iterdir())
    label = "moving_left"
    arguments = ["explain", str(tiny_run), str(video), "--output", str(tmp_path), "--class", label, "--parts", "3"]
    assert main([*arguments, "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert numbers == json.loads((tmp_path / "explanation.json").read_text())
    scores = load(tiny_run).scores(video)  # type: ignore[attr-defined]
    classes = load(tiny_run).classes
    assert numbers["label"] == label
    assert numbers["score"] == pytest.approx(float(scores[classes.index(label)]), abs=1e-5)
    assert [(part["start"], part["end"]) for part in numbers["parts"]] == [
        (pytest.approx(2 * i / 3), pytest.approx(2 * (i + 1) / 3)) for i in range(3)
    ]
    assert len(numbers["frames"]) == FRAMES
    assert max(frame["heat"] for frame in numbers["frames"]) <= 1
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        stream = container.streams.video[0]
        assert sum(1 for _ in container.decode(stream)) == FRAMES
        assert float(stream.duration * stream.time_base) == pytest.approx(2, abs=0.01)
    assert (tmp_path / "strip.png").exists()
    assert (tmp_path / "seconds.png").exists()


def test_hidden_parts_have_the_mean_colour(tiny_run: Path, sample: Path) -> None:
    predictor: Any = load(tiny_run)
    explanation = predictor.explain(next((sample / "val" / "growing").iterdir()), parts=2)
    views = predictor.description.data.test_views
    assert views.sampling.joined
    frames = predictor.open(explanation.video).frames(range(FRAMES)).clone()
    left = (WIDTH - HEIGHT) // 2
    seen = frames[sample_test(views.sampling, FRAMES)[0], :, left : left + HEIGHT]

    class Changed:
        path, fps = "", 16.0

        def __len__(self) -> int:
            return FRAMES

        def frames(self, indices: Any, more: bool = False) -> Tensor:
            return frames[indices]

    def score_with(colour: Tensor) -> float:
        frames[: FRAMES // 2] = colour.to(torch.uint8)
        return float(predictor.scores("")[predictor.classes.index(explanation.label)])

    predictor.open = lambda _: Changed()
    mean = seen.float().mean(dim=(0, 1, 2)).round()
    apart = abs(score_with(mean) - score_with(255 - mean))
    assert explanation.parts[0].score == pytest.approx(score_with(mean), abs=min(2e-3, apart / 4))  # the resize rounds


@pytest.mark.parametrize(
    ("arguments", "part"),
    [(["--class", "growin"], "did you mean 'growing'"), (["--parts", "0"], "at least 1")],
)
def test_faults(
    arguments: list[str], part: str, tiny_run: Path, sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = next((sample / "val" / "growing").iterdir())
    assert main(["explain", str(tiny_run), str(video), "--output", str(tmp_path), *arguments]) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "overlay.mp4").exists()


@pytest.mark.parametrize(
    ("video", "arguments"), [("missing.mp4", []), ("", ["--class", "growin"])], ids=["no video", "no class"]
)
def test_faults_leave_no_folder(video: str, arguments: list[str], tiny_run: Path, sample: Path, tmp_path: Path) -> None:
    found = str(tmp_path / video) if video else str(next((sample / "val" / "growing").iterdir()))
    assert main(["explain", str(tiny_run), found, "--output", str(tmp_path / "new/out"), *arguments]) == 2
    assert list(tmp_path.iterdir()) == []
