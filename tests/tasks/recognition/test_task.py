"""Losses, view averaging and metrics against plain formulas."""

import logging
import math
from decimal import Decimal
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from kinema.data.kinds import LabelMode
from kinema.data.samples import Batch, batch_memory
from kinema.recipes import config_of
from kinema.tasks.recognition.evaluation.metrics import recognition_metrics
from kinema.tasks.recognition.losses import training_loss
from kinema.tasks.recognition.options import RecognitionOptions
from kinema.tasks.recognition.scoring import as_clips, video_losses, video_scores, view_logits
from kinema.tasks.recognition.task import RecognitionTask


class Means(nn.Module):
    """A model whose logits are the mean pixel of each channel."""

    def forward(self, clips: Tensor) -> Tensor:
        return clips.float().mean((2, 3, 4)) / 10


def random_clips(views: int, frames: int = 2) -> Tensor:
    return torch.randint(0, 256, (views, frames, 4, 5, 3), dtype=torch.uint8).movedim(-1, 2)


def test_a_batch_reaches_the_model_without_a_copy() -> None:
    clips = batch_memory(2, (3, 2, 4, 5, 3))
    assert clips.shape == (2, 3, 2, 3, 4, 5)
    seen = as_clips(clips)
    assert seen.shape == (6, 3, 2, 4, 5)
    assert seen.data_ptr() == clips.data_ptr()
    assert seen.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("average", ["score", "prob"])
@pytest.mark.parametrize(("frames_at_once", "largest"), [(512, 10), (1, 1), (9, 4)])
def test_scores_average_logits_or_probabilities_over_views(average: str, frames_at_once: int, largest: int) -> None:
    clips = torch.stack([random_clips(views=5).movedim(2, -1) for _ in range(2)]).movedim(-1, 3)
    model, seen = Means(), list[int]()
    model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    options = RecognitionOptions(average=average)  # type: ignore[arg-type]
    scores = video_scores(view_logits(model, clips, frames_at_once=frames_at_once), options)
    assert max(seen) == largest
    for video, score in zip(clips, scores, strict=True):
        logits = [[view[:, c].double().mean().item() / 10 for c in range(3)] for view in video]
        if average == "score":
            logits = [[sum(column) / 5 for column in zip(*logits, strict=True)]]
        exponentials = [[math.exp(x) for x in row] for row in logits]
        probabilities = [[e / sum(row) for e in row] for row in exponentials]
        expected = [sum(column) / len(probabilities) for column in zip(*probabilities, strict=True)]
        assert score.tolist() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_smoothed_cross_entropy_over_all_views(smoothing: float) -> None:
    clips = torch.randint(0, 256, (2, 2, 2, 4, 5, 3), dtype=torch.uint8).movedim(-1, 3)
    batch = Batch(clips, torch.tensor([2, 0]), torch.arange(2))
    loss, right = training_loss(Means(), batch, RecognitionOptions(label_smoothing=smoothing))
    terms, correct = [], 0
    for video, label in zip(batch.inputs, [2, 0], strict=True):
        for view in video:
            logits = [view[:, c].double().mean().item() / 10 for c in range(3)]
            logs = [x - math.log(sum(map(math.exp, logits))) for x in logits]
            wanted = [smoothing / 3 + (1 - smoothing) * (c == label) for c in range(3)]
            terms.append(-sum(w * p for w, p in zip(wanted, logs, strict=True)))
            correct += logits.index(max(logits)) == label
    assert loss.item() == pytest.approx(sum(terms) / 4, rel=1e-5)
    assert right.item() == correct


@given(
    st.sampled_from([("single", "score"), ("single", "prob"), ("multi", "score"), ("multi", "prob"), ("multi", "max")]),
    st.integers(1, 4),
    st.integers(1, 5),
    st.floats(0.1, 200),
    st.integers(0, 2**31),
)
def test_validation_loss_is_the_cross_entropy_of_the_scores(
    kind: tuple[LabelMode, Any], views: int, num_classes: int, scale: float, seed: int
) -> None:
    """Against probabilities written out in numbers of any size: those of float64 round to 0 here."""
    labels, average = kind
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn((3, views, num_classes), generator=generator)
    truth = torch.randint(0, num_classes, (3,), generator=generator)
    targets = truth if labels == "single" else torch.stack([truth, torch.full_like(truth, -1)], dim=1)
    options = RecognitionOptions(labels=labels, average=average, label_smoothing=0.3)
    found = video_losses(logits, targets, options)
    for video, label, loss in zip(logits.tolist(), truth.tolist(), found.tolist(), strict=True):
        columns = [[Decimal(logit) for logit in column] for column in zip(*video, strict=True)]
        merged = {"score": lambda column: [sum(column) / views], "prob": list, "max": lambda column: [max(column)]}
        rows = list(zip(*map(merged[average], columns), strict=True))
        terms = []
        for index in range(num_classes):
            if labels == "single":
                shares = [row[index].exp() / sum(logit.exp() for logit in row) for row in rows]
            else:
                signed = [row[index] if index == label else -row[index] for row in rows]
                shares = [1 / (1 + (-logit).exp()) for logit in signed]
            terms.append(-(sum(shares) / len(shares)).ln())
        expected = terms[label] if labels == "single" else sum(terms) / num_classes
        assert loss == pytest.approx(float(expected), rel=1e-5, abs=1e-5)


@given(st.integers(2, 7), st.integers(1, 40), st.integers(0, 2**31))
def test_metrics_equal_counting_by_hand(num_classes: int, videos: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand((videos, num_classes), generator=generator)
    labels = torch.randint(0, num_classes, (videos,), generator=generator)
    metrics = recognition_metrics("single", num_classes, torch.device("cpu"))
    for part in range(0, videos, 7):
        metrics.update(scores[part : part + 7], labels[part : part + 7])
    found, confusion = metrics.compute()

    ranked = [sorted(range(num_classes), key=lambda c, row=row: -row[c]) for row in scores.tolist()]
    truth = labels.tolist()
    top1 = [order[0] == label for order, label in zip(ranked, truth, strict=True)]
    top5 = [label in order[:5] for order, label in zip(ranked, truth, strict=True)]
    by_class = [[hit for hit, label in zip(top1, truth, strict=True) if label == c] for c in set(truth)]
    assert found["videos"] == videos
    assert found["top1"] == sum(top1) / videos
    assert found["top5"] == sum(top5) / videos
    assert found["mean_class"] == pytest.approx(sum(sum(hits) / len(hits) for hits in by_class) / len(by_class))
    expected = [[0] * num_classes for _ in range(num_classes)]
    for order, label in zip(ranked, truth, strict=True):
        expected[label][order[0]] += 1
    assert confusion is not None
    assert confusion.tolist() == expected


@pytest.mark.parametrize("labels", ["single", "multi"])
def test_of_no_video_nothing_is_known(labels: LabelMode) -> None:
    found, _ = recognition_metrics(labels, 4, torch.device("cpu")).compute()
    assert found["videos"] == 0
    assert math.isnan(found["top1"])


@pytest.mark.parametrize("frozen_stages", [-1, 1])
def test_frozen_layers_with_random_weights_are_warned_of(frozen_stages: int, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of("tsm_r18_video_1x1x8_small_rgb", {"model.width": 8, "model.frozen_stages": frozen_stages})
    unused: Any = None
    task = RecognitionTask(config=config, process=unused, train=unused, val=None, classes=("a", "b"), plan=unused)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        task.first_model()
    assert ("the frozen layers keep random weights" in caplog.text) == (frozen_stages == 1)
