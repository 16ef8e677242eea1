"""Parts of detectors against plain loops: attention, targets, suppression, crops, times."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from kinema.data.features.spans import FeatureSpan
from kinema.models.actionformer import local_attention
from kinema.models.tridet import TridentLevel, expected_offsets
from kinema.tasks.localization.detectors.cropping import Labelled, random_crop
from kinema.tasks.localization.detectors.nms import DetectionNmsOptions, Method, suppress_detections
from kinema.tasks.localization.detectors.points import AssignmentOptions, point_targets
from kinema.tasks.localization.metrics.results import Proposals
from kinema.training.optimization.schedule import CosineSchedule, lr_factor


def plain_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, window: int) -> Tensor:
    """All logits, of which those outside the window and at padding are masked, for queries that are not padding."""
    length = query.shape[2]
    logits = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
    near = (torch.arange(length)[:, None] - torch.arange(length)).abs() <= window // 2
    seen = (near & mask[:, None, None]) | ~mask[:, None, :, None]
    return logits.masked_fill(~seen, -torch.inf).softmax(dim=-1) @ value


@pytest.mark.parametrize(("length", "window"), [(1, 3), (7, 5), (32, 19), (70, 7), (97, 19), (40, 81)])
def test_local_attention_is_masked_attention(length: int, window: int) -> None:
    torch.manual_seed(length)
    inputs = [torch.randn(2, 3, length, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    valid = torch.tensor([length, max(1, length - length // 3)])
    mask = torch.arange(length) < valid[:, None]
    found, expected = (attend(*inputs, mask, window) for attend in (local_attention, plain_attention))
    used = mask[:, None, :, None]
    torch.testing.assert_close(found * used, expected * used)
    gradients = [torch.autograd.grad((x.square() * used).sum(), inputs) for x in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


SEGMENTS = st.lists(
    st.tuples(st.integers(-8, 60), st.sampled_from([0.5, 1.0, 3.0, 4.0, 8.0, 20.0, 33.0]), st.integers(0, 2)),
    max_size=5,
)


@settings(max_examples=50, deadline=None)
@given(SEGMENTS, st.sampled_from([0.0, 0.5, 1.5]))
def test_targets_follow_the_rules(instances: list[tuple[int, float, int]], radius: float) -> None:
    """Point by point and instance by instance, as the paper says it."""
    segments = [(float(start), start + length) for start, length, _ in instances]
    labels = [label for *_, label in instances]
    options = AssignmentOptions(radius=radius, ranges=(4, 8))
    found = point_targets(
        [np.array(segments, np.float32).reshape(-1, 2)],
        [np.array(labels, np.int64)],
        length=48,
        classes=3,
        options=options,
    )
    row = 0
    for stride, low, high in ((1, 0, 4), (2, 4, 8), (4, 8, math.inf)):
        for time in range(0, 48, stride):
            candidates = []
            for number, (start, end) in enumerate(segments):
                center = (start + end) / 2
                near = start < time < end and (not radius or abs(time - center) < radius * stride)
                if near and low <= max(time - start, end - time) <= high:
                    candidates.append((end - start, number))
            classes = np.zeros(3)
            if candidates:
                shortest, best = min(candidates)
                for length, number in candidates:
                    classes[labels[number]] = max(classes[labels[number]], length <= shortest + 1e-3)
                offsets = (time - segments[best][0]) / stride, (segments[best][1] - time) / stride
                np.testing.assert_allclose(found.offsets[0, row], offsets, rtol=1e-6)
            np.testing.assert_array_equal(found.classes[0, row], classes)
            row += 1
    assert row == found.classes.shape[1]


def plain_suppression(found: Proposals, options: DetectionNmsOptions) -> list[tuple[float, float, float, int]]:
    """Repeatedly take the best detection and update all others."""
    assert found.labels is not None
    taken = []
    for label in sorted({*found.labels.tolist()}) if options.by_class else [None]:
        rest = [
            [*map(float, segment), float(score), int(own)]
            for segment, score, own in zip(found.segments, found.scores, found.labels, strict=True)
            if label is None or own == label
        ]
        if options.method == "hard":
            rest = [one for one in rest if one[2] > options.least_score]
        of_class = 0
        while rest and of_class < options.most:
            best = rest.pop(max(range(len(rest)), key=lambda row: rest[row][2]))
            taken.append((best[0], best[1], best[2], int(best[3])))
            of_class += 1
            kept = []
            for one in rest:
                shared = max(0.0, min(one[1], best[1]) - max(one[0], best[0]))
                overlap = shared / (one[1] - one[0] + best[1] - best[0] + 2e-6 - shared)
                if options.method == "gaussian":
                    one[2] *= math.exp(-(overlap**2) / options.sigma)
                elif overlap >= options.threshold:
                    one[2] *= 1 - overlap if options.method == "linear" else 0
                if one[2] >= options.least_score and one[2] > 0:
                    kept.append(one)
            rest = kept
    return sorted(taken, key=lambda one: -one[2])[: options.most]


@pytest.mark.parametrize("by_class", [True, False])
@pytest.mark.parametrize("method", ["gaussian", "linear", "hard"])
def test_suppression_is_that_of_plain_loops(method: Method, by_class: bool) -> None:
    random = np.random.default_rng(3)
    for count in (0, 1, 80):
        start, length = random.uniform(0, 50, count), random.uniform(0.5, 20, count)
        given_ = Proposals(
            segments=np.stack([start, start + length], axis=1),
            scores=random.uniform(0, 1, count),
            labels=random.integers(0, 3, count),
        )
        options = DetectionNmsOptions(method=method, by_class=by_class, threshold=0.4, least_score=0.02, most=30)
        found, expected = suppress_detections(given_, options), plain_suppression(given_, options)
        assert found.labels is not None
        np.testing.assert_allclose(found.scores, [one[2] for one in expected], rtol=1e-4)
        np.testing.assert_allclose(found.segments, np.array([one[:2] for one in expected]).reshape(-1, 2), rtol=1e-5)
        np.testing.assert_array_equal(found.labels, [one[3] for one in expected])


def test_offsets_are_the_means_of_distributions() -> None:
    """Logits at the point plus those of the classes at its neighbours, which are 0 beyond the sequence."""
    torch.manual_seed(0)
    bins, length, classes = 3, 6, 2
    level = TridentLevel(
        logits=torch.zeros(1, length, classes),
        offsets=torch.randn(1, length, 2 * (bins + 1)),
        starts=torch.randn(1, length, classes),
        ends=torch.randn(1, length, classes),
    )
    points = torch.arange(length).repeat_interleave(classes)
    labels = torch.arange(classes).repeat(length)
    found = expected_offsets(level, torch.zeros_like(points), points, labels)
    for row, (point, label) in enumerate(zip(points.tolist(), labels.tolist(), strict=True)):
        means = []
        for side, boundary, sign in ((0, level.starts, -1), (1, level.ends, 1)):
            logits = level.offsets[0, point].view(2, bins + 1)[side]
            weights = []
            for distance in range(bins + 1):
                at = point + sign * distance
                own = logits[bins - distance] if side == 0 else logits[distance]
                there = boundary[0, at, label] if 0 <= at < length else torch.zeros(())
                weights.append(math.exp(own + there))
            means.append(sum(distance * weight for distance, weight in enumerate(weights)) / sum(weights))
        np.testing.assert_allclose(found[row], means, rtol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):  # distances, and the loss that they enter, stay float32
        assert torch.equal(expected_offsets(level, torch.zeros_like(points), points, labels), found)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_crops_show_an_instance_where_there_is_one(length: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    start = random.uniform(0, length, 2)
    segments = np.stack([start, start + random.uniform(0.1, 10, 2)], axis=1)
    video = Labelled(torch.arange(length, dtype=torch.float32)[None], segments, np.array([0, 1]))
    crop = random_crop(video, longest=20, shares=(0.5, 1.0), least_overlap=0.5, margin=0.5, random=random)
    size, first = crop.features.shape[1], int(crop.features[0, 0])
    assert crop.features[0].tolist() == list(range(first, first + size))
    assert size == 20 if length > 20 else max(round(length * 0.5), 1) <= size <= length
    for segment, label in zip(crop.segments, crop.labels, strict=True):
        whole = segments[label]
        expected = whole - first if size == length else whole.clip(first - 0.5, first + size + 0.5) - first
        np.testing.assert_allclose(segment, expected)
        assert np.diff(segment) >= 0.5 * np.diff(whole) - 1e-9


def test_the_cosine_after_the_warm_up_is_that_of_the_papers_code() -> None:
    schedule = CosineSchedule(epochs=35, warmup_epochs=5, warmup_start=0.0, after_warmup=True, end=0.05)
    for epoch in (0.0, 2.5, 5.0, 5.1, 20.0, 35.0):
        cosine = 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * (epoch - 5) / 30))
        assert lr_factor(schedule, epoch) == pytest.approx(epoch / 5 if epoch < 5 else cosine)


def test_features_with_a_window_lie_at_its_middle() -> None:
    """Feature i sees frames i · stride to i · stride + window: its time is in the middle."""
    stride, window, fps, count = 4, 16, 30.0, 50
    start = (window - stride) / 2 / fps
    span = FeatureSpan(start, start + count * stride / fps, 10.0)
    seconds = np.array([0.1, 1.0, 3.3])
    grid = span.fractions(seconds) * count - 0.5
    np.testing.assert_allclose(grid, seconds * fps / stride - 0.5 * window / stride)
