"""ActionFormer and TriDet against the numbers of the papers' code: keys, outputs, losses, gradients, detections."""

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from kinema.models.actionformer import ActionFormerOptions
from kinema.models.foreign import foreign_misfits, foreign_names, foreign_state_dict, load_foreign_state_dict
from kinema.models.localizer import Localizer
from kinema.models.tridet import TriDetOptions, expected_offsets
from kinema.tasks.localization.detectors.decoding import DecodingOptions, decode_levels
from kinema.tasks.localization.detectors.losses import DetectionLosses, DetectionLossOptions, detection_losses
from kinema.tasks.localization.detectors.nms import DetectionNmsOptions, suppress_detections
from kinema.tasks.localization.detectors.points import AssignmentOptions, point_targets
from kinema.tasks.localization.metrics.results import Proposals
from tests.models import parity

ACTIONFORMER = "actionformer_thumos_i3d"
FOLDER = Path(__file__).parent / "foreign_numbers"


def regressed(level: Any, video: Tensor, point: Tensor, _label: Tensor) -> Tensor:
    offsets: Tensor = level.offsets[video, point]
    return offsets


def padded(lengths: Sequence[int], channels: int, to: int, seeds: Sequence[int] = (0, 1)) -> tuple[Tensor, Tensor]:
    """Random features of videos, and their mask."""
    features, mask = torch.zeros(len(lengths), channels, to), torch.zeros(len(lengths), to, dtype=torch.bool)
    for row, (length, seed) in enumerate(zip(lengths, seeds, strict=False)):
        drawn = np.random.RandomState(seed).standard_normal((channels, length))
        features[row, :, :length] = torch.from_numpy(drawn.astype(np.float32))
        mask[row, :length] = True
    return features, mask


def check_gradients(model: Localizer, source: Any, expected: dict[str, float], tolerance: float) -> None:
    """Compare norms relative to themselves, or to the largest where they are rounding errors."""
    names, floor = foreign_names(model, source), 1e-4 * max(expected.values())
    for key, parameter in model.named_parameters():
        found = 0.0 if parameter.grad is None else parameter.grad.double().norm().item()
        wanted = expected.get(names[key], 0.0)
        assert found == pytest.approx(wanted, rel=tolerance, abs=floor if wanted < floor else 0), key


@pytest.fixture(scope="module")
def thumos(shared: Path) -> tuple[Localizer, dict[str, Tensor], dict[str, Any]]:
    """ActionFormer with the reference's weights, its numbers, and what else is known of them."""
    recorded = parity.recorded(shared, ACTIONFORMER)
    model = ActionFormerOptions(drop_path=0.0).build()
    weights = parity.ruled_state_dict(recorded["state_dict"], recorded["rules"])
    found = {key: list(value.shape) for key, value in foreign_state_dict(model, source="actionformer").items()}
    assert found == recorded["state_dict"]
    assert sum(parameter.numel() for parameter in model.parameters()) == recorded["params"]
    load_foreign_state_dict(model, weights, source="actionformer")
    numbers = json.loads((shared / "parity" / "numbers" / f"{ACTIONFORMER}.json").read_text())
    return model, parity.tensors(shared, ACTIONFORMER), numbers


def test_actionformer_outputs(thumos: tuple[Localizer, dict[str, Tensor], dict[str, Any]]) -> None:
    model, numbers, _ = thumos
    features, mask = padded((437, 161), 2048, 2304)
    with torch.inference_mode():
        levels = model.eval()(features, mask)
    for video in range(2):
        for number, level in enumerate(levels):
            for name in ("logits", "offsets"):
                expected, found = numbers[f"v{video}.l{number}.{name}"], getattr(level, name)[video]
                assert (found[: len(expected)] - expected).abs().max() < 1e-4
                assert not found[len(expected) :].any()


@pytest.mark.slow
def test_actionformer_outputs_of_a_long_video(thumos: tuple[Localizer, dict[str, Tensor], dict[str, Any]]) -> None:
    model, numbers, known = thumos
    features, mask = padded((2400,), 2048, 2880, seeds=(2,))
    with torch.inference_mode():
        levels = model.eval()(features, mask)
    for number, (level, step, valid) in enumerate(
        zip(levels, known["long"]["step"], known["long"]["valid"], strict=True)
    ):
        for kind, name in enumerate(("logits", "offsets")):
            found = getattr(level, name)[0, :valid]
            assert (found[::step] - numbers[f"long.l{number}.{name}"]).abs().max() < 1e-4
            assert (found[-3:] - numbers[f"long.l{number}.last_{name}"]).abs().max() < 1e-4
            assert found.double().abs().sum().item() == pytest.approx(known["long"]["abs64"][number][kind], rel=1e-5)


@pytest.mark.slow
def test_actionformer_training_step(thumos: tuple[Localizer, dict[str, Tensor], dict[str, Any]]) -> None:
    model, numbers, known = thumos
    features, mask = padded((437, 161), 2048, 2304)
    targets = point_targets(
        [np.array(one, np.float32) for one in known["gt_segments"]],
        [np.array(one) for one in known["gt_labels"]],
        length=2304,
        classes=20,
        options=AssignmentOptions(),
    )
    positive = targets.classes.nonzero()
    assert torch.equal(positive.int(), numbers["gt.pos"])
    torch.testing.assert_close(targets.offsets[positive[:, 0], positive[:, 1]], numbers["gt.offsets"], rtol=0, atol=0)
    model.zero_grad()
    model.normalizer.average.zero_()
    losses = detection_losses(
        model.train()(features, mask), mask, targets, model.normalizer, DetectionLossOptions(), offsets_of=regressed
    )
    losses.total.backward()
    expected = known["train_losses"]
    assert losses.classification.item() == pytest.approx(expected["cls_loss"], rel=1e-5)
    assert losses.regression.item() == pytest.approx(expected["reg_loss"], rel=1e-5)
    assert losses.total.item() == pytest.approx(expected["final_loss"], rel=1e-5)
    assert model.normalizer.average.item() == pytest.approx(known["loss_normalizer_after"])
    # The reference's own norms are this far from those in float64.
    tolerance = 2 * known["float64"]["grad_norm_relative_max"] + 1e-4
    check_gradients(model, "actionformer", known["grad_norm"], tolerance)


def in_order(found: Proposals) -> tuple[np.ndarray, ...]:
    """By score, and where scores are equal, as of some candidates, by label and start."""
    assert found.labels is not None
    order = np.lexsort((found.segments[:, 0], found.labels, -found.scores))
    return found.segments[order], found.scores[order], found.labels[order]


def as_proposals(numbers: dict[str, Tensor], name: str) -> Proposals:
    segments, scores, labels = (numbers[f"{name}.{key}"].numpy() for key in ("segments", "scores", "labels"))
    return Proposals(segments=segments.astype(float), scores=scores.astype(float), labels=labels.astype(np.int64))


NMS = {
    "own": DetectionNmsOptions(),
    "agnostic_voting": DetectionNmsOptions(by_class=False, voting=0.7),
    "agnostic_novoting": DetectionNmsOptions(by_class=False),
    "hard": DetectionNmsOptions(method="hard"),
}


@pytest.mark.parametrize("video", [0, 1])
def test_actionformer_detections(shared: Path, video: int) -> None:
    numbers = parity.tensors(shared, ACTIONFORMER)
    expected = load_file(shared / "parity" / "numbers" / f"{ACTIONFORMER}_decode.safetensors")
    known = json.loads((shared / "parity" / "numbers" / f"{ACTIONFORMER}.json").read_text())["videos"][f"v{video}"]
    levels = [
        SimpleNamespace(**{name: numbers[f"v{video}.l{level}.{name}"][None] for name in ("logits", "offsets")})
        for level in range(6)
    ]
    (candidates,) = decode_levels(levels, [(0, known["length"])], DecodingOptions(), offsets_of=regressed)
    before = as_proposals(expected, f"v{video}.before")
    rounded = Proposals(segments=candidates.segments, scores=before.scores, labels=candidates.labels)
    np.testing.assert_allclose(candidates.scores, before.scores, atol=1e-7)  # sigmoids differ in the last bit
    for found, wanted in zip(in_order(rounded), in_order(before), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    for name, options in NMS.items():
        kept, wanted = suppress_detections(candidates, options), as_proposals(expected, f"v{video}.{name}")
        seconds = (kept.segments * known["feat_stride"] + 0.5 * known["feat_num_frames"]) / known["fps"]
        np.testing.assert_allclose(seconds.clip(0, known["duration"]), wanted.segments, atol=2e-5)
        np.testing.assert_allclose(kept.scores, wanted.scores, atol=1e-6)
        np.testing.assert_array_equal(kept.labels, wanted.labels)


def test_suppression_of_both_tools(shared: Path) -> None:
    numbers = load_file(shared / "parity" / "numbers" / "tal_nms.safetensors")
    cases = json.loads((shared / "parity" / "numbers" / "tal_nms.json").read_text())["cases"]
    given = Proposals(
        segments=numbers["segments"].numpy().astype(float),
        scores=numbers["scores"].numpy().astype(float),
        labels=numbers["labels"].numpy().astype(np.int64),
    )
    for name, case in cases.items():
        options = DetectionNmsOptions(
            method="gaussian" if case["use_soft_nms"] else "hard",
            by_class=case["multiclass"],
            sigma=case["sigma"],
            threshold=case["iou_threshold"],
            least_score=case["min_score"],
            most=case["max_seg_num"],
            voting=0.0 if case["multiclass"] else case["voting_thresh"],
            voting_by_overlap=case["reference"] == "ActionFormer",
        )
        found, wanted = suppress_detections(given, options), as_proposals(numbers, name)
        np.testing.assert_allclose(found.segments, wanted.segments, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-6, err_msg=name)
        np.testing.assert_array_equal(found.labels, wanted.labels, err_msg=name)


@cache
def recorded(tool: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{tool}.json").read_text())
    return found


CHANNELS, WIDTH, LENGTH, LENGTHS = 16, 32, 192, (131, 60)
MODELS: dict[tuple[str, str], Any] = {
    ("actionformer", "anet_tsp"): ActionFormerOptions(windows=(7, 7, 7, 7, 7, 0), positions=LENGTH),
    ("actionformer", "thumos_i3d"): ActionFormerOptions(windows=(7,) * 6),
    ("tridet", "thumos_i3d"): TriDetOptions(mlp_width=2 * WIDTH, head_width=WIDTH),
    ("tridet", "anet_tsp"): TriDetOptions(
        mlp_width=2 * WIDTH, head_width=WIDTH, window=15, window_ratio=1.3, bins=12, positions=LENGTH
    ),
}
LOSSES = {
    ("actionformer", "anet_tsp"): DetectionLossOptions(regression_weight=2.0, label_smoothing=0.1, positives=200),
    ("actionformer", "thumos_i3d"): DetectionLossOptions(),
    ("tridet", "thumos_i3d"): DetectionLossOptions(),
    ("tridet", "anet_tsp"): DetectionLossOptions(label_smoothing=0.1, positives=400),
}
POWERS = {"thumos_i3d": 0.2, "anet_tsp": 1.0}
SHORTEST = {("actionformer", "anet_tsp"): 0.001, ("tridet", "anet_tsp"): 0.1}
SEGMENTS = (
    ((-1.25, 3.5), (10.0, 14.0), (13.3, 20.7), (40.0, 71.9), (40.0005, 71.9), (90.0, 126.5), (125.0, 133.0)),
    ((5.0, 7.5), (30.0, 46.0), (30.0, 46.0), (20.0, 59.0)),
)
LABELS = ((0, 1, 2, 1, 0, 2, 1), (1, 2, 2, 1))


def case_of(tool: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(case for case in recorded(tool)["cases"] if case["name"] == name)
    return found


@cache
def narrow(tool: str, name: str) -> Localizer:
    case, options = case_of(tool, name), MODELS[tool, name]
    options.feature_channels, options.width, options.num_classes = CHANNELS, WIDTH, case["classes"]
    options.drop_path = 0.0
    if tool == "tridet":
        options.input_noise = 0.0
    model: Localizer = options.build()
    weights = parity.ruled_state_dict(case["shapes"], recorded(tool)["rules"])
    assert foreign_misfits(model, weights, source=tool) == []  # type: ignore[arg-type]
    load_foreign_state_dict(model, weights, source=tool)  # type: ignore[arg-type]
    return model


@pytest.mark.parametrize(("tool", "name"), MODELS)
def test_outputs_of_narrow_networks(tool: str, name: str) -> None:
    """One video at a time, as the tools test."""
    model, case = narrow(tool, name).eval(), case_of(tool, name)
    for video, length in enumerate(LENGTHS):
        features, mask = padded((length,), CHANNELS, LENGTH, seeds=(video,))
        with torch.inference_mode():
            levels = model(features, mask)
        for level, expected in zip(levels, case["outputs"][video], strict=True):
            for found, wanted, total in zip(level, expected["heads"], expected["sums"], strict=True):
                valid = found[0, : expected["valid"]]
                largest = max(1.0, valid.abs().max().item())
                assert (valid[::7] - torch.tensor(wanted)).abs().max() < 1e-5 * largest
                assert valid.double().abs().sum().item() == pytest.approx(total, rel=1e-5)
                assert not found[0, expected["valid"] :].any()
        options = DecodingOptions(least_length=SHORTEST.get((tool, name), 0.05))
        offsets_of = expected_offsets if tool == "tridet" else regressed
        (candidates,) = decode_levels(levels, [(0, length)], options, offsets_of=offsets_of)  # type: ignore[arg-type]
        known = case["candidates"][video]
        assert len(candidates.scores) == known["count"]
        order = np.argsort(-candidates.scores, kind="stable")[: 40 * 7 : 7]
        np.testing.assert_allclose(candidates.scores[order], known["scores"], rtol=1e-4)
        np.testing.assert_allclose(candidates.segments[order], known["segments"], rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(candidates.labels[order], known["labels"])


@pytest.mark.parametrize(("tool", "name"), MODELS)
def test_training_steps_of_narrow_networks(tool: str, name: str) -> None:
    model, case = narrow(tool, name).train(), case_of(tool, name)
    features, mask = padded(LENGTHS, CHANNELS, LENGTH)
    targets = point_targets(
        [np.array(one, np.float32) for one in SEGMENTS],
        [np.array(one) % case["classes"] for one in LABELS],
        length=LENGTH,
        classes=case["classes"],
        options=AssignmentOptions(),
    )
    model.zero_grad()
    model.normalizer.average.zero_()
    trident = tool == "tridet"
    losses: DetectionLosses = detection_losses(
        model(features, mask),
        mask,
        targets,
        model.normalizer,
        LOSSES[tool, name],
        offsets_of=expected_offsets if trident else regressed,  # type: ignore[arg-type]
        per_class=trident,
        overlap_power=POWERS[name] if trident else 0.0,
    )
    losses.total.backward()
    expected = case["losses"]
    assert losses.classification.item() == pytest.approx(expected["cls_loss"], rel=1e-5)
    assert losses.regression.item() == pytest.approx(expected["reg_loss"], rel=1e-5)
    assert losses.total.item() == pytest.approx(expected["final_loss"], rel=1e-5)
    assert model.normalizer.average.item() == pytest.approx(case["normalizer"][1])
    check_gradients(model, tool, case["grad_norm"], tolerance=1e-3)
