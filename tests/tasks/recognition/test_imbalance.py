"""Rare classes: weights and focal loss against plain formulas, per-class metrics against torchmetrics."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchmetrics.functional.classification import (
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
    multilabel_average_precision,
    multilabel_f1_score,
)
from torchvision.ops import sigmoid_focal_loss

from kinema.api import train
from kinema.cli import main
from kinema.data.lists.annotations import read_index
from kinema.data.samples import Batch
from kinema.errors import UserError
from kinema.tasks.recognition.evaluation.metrics import recognition_metrics
from kinema.tasks.recognition.evaluation.per_class import per_class_table
from kinema.tasks.recognition.imbalance import class_weights
from kinema.tasks.recognition.losses import softmax_focal_loss, training_loss
from kinema.tasks.recognition.options import RecognitionOptions
from tests.conftest import tiny_config

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -3.0], [0.0, 4.0, 1.0], [-2.0, 0.3, 0.4]])
LABELS = torch.tensor([0, 2, 1, 1])


class Given(nn.Module):
    """A model with given logits."""

    def forward(self, clips: Tensor) -> Tensor:
        return LOGITS[: len(clips)]


def loss_of(targets: Tensor, options: RecognitionOptions, weights: Tensor | None = None) -> float:
    batch = Batch(torch.zeros(4, 1, 1, 3, 2, 2, dtype=torch.uint8), targets, torch.arange(4))
    return training_loss(Given(), batch, options, weights)[0].item()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [0.5, 1.0, 3.0]])
@pytest.mark.parametrize("gamma", [1.0, 2.0, 3.5])
def test_softmax_focal_loss_is_the_formula(gamma: float, weights: list[float] | None, smoothing: float) -> None:
    total, weight_sum = 0.0, 0.0
    for logits, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        probabilities = [math.exp(x) / sum(map(math.exp, logits)) for x in logits]
        for c, p in enumerate(probabilities):
            share = ((c == label) * (1 - smoothing) + smoothing / 3) * (weights[c] if weights else 1)
            total -= share * (1 - p) ** gamma * math.log(p)
            weight_sum += share
    options = RecognitionOptions(loss="focal", focal_gamma=gamma, label_smoothing=smoothing)
    found = loss_of(LABELS, options, None if weights is None else torch.tensor(weights))
    assert found == pytest.approx(total / weight_sum, rel=1e-5)


def test_without_gamma_it_is_the_weighted_cross_entropy() -> None:
    weights = torch.tensor([0.5, 1.0, 3.0])
    found = softmax_focal_loss(LOGITS, LABELS, gamma=0, class_weights=weights)
    assert found.item() == pytest.approx(F.cross_entropy(LOGITS, LABELS, weight=weights).item())
    assert loss_of(LABELS, RecognitionOptions(), weights) == pytest.approx(found.item())


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_binary_focal_loss_is_that_of_torchvision(gamma: float) -> None:
    targets = torch.tensor([[0, 2], [-1, -1], [1, -1], [0, 1]])
    hot = torch.tensor([[1.0, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 0]])
    options = RecognitionOptions(labels="multi", loss="focal", focal_gamma=gamma)
    expected = sigmoid_focal_loss(LOGITS, hot, alpha=-1, gamma=gamma, reduction="mean")
    assert loss_of(targets, options) == pytest.approx(expected.item())
    probability = 1 / (1 + np.exp(-LOGITS.double().numpy()))
    right = np.where(hot.numpy() > 0, probability, 1 - probability)
    assert loss_of(targets, options) == pytest.approx(float((-((1 - right) ** gamma) * np.log(right)).mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("alpha", "weights"), [(0.25, None), (0.75, None), (0.0, [0.5, 1.0, 3.0])], ids=["0.25", "0.75", "by class"]
)
def test_alpha_balances_what_is_shown_and_what_is_not(alpha: float, weights: list[float] | None) -> None:
    """Equation 5 of Lin et al.: -alpha_t (1 - p_t)^gamma log(p_t), one by one."""
    targets = torch.tensor([[0, 2], [-1, -1], [1, -1], [0, 1]])
    shown = [{0, 2}, set[int](), {1}, {0, 1}]
    total = 0.0
    for logits, classes in zip(LOGITS.tolist(), shown, strict=True):
        for c, x in enumerate(logits):
            p = 1 / (1 + math.exp(-x))
            p_t = p if c in classes else 1 - p
            alpha_t = (alpha if c in classes else 1 - alpha) if alpha else 1.0
            if weights is not None and c in classes:
                alpha_t *= weights[c]
            total -= alpha_t * (1 - p_t) ** 1.5 * math.log(p_t)
    options = RecognitionOptions(labels="multi", loss="focal", focal_gamma=1.5, focal_alpha=alpha)
    found = loss_of(targets, options, None if weights is None else torch.tensor(weights))
    assert found == pytest.approx(total / 12, rel=1e-5)


def test_balanced_weights_make_all_classes_weigh_the_same(tmp_path: Path) -> None:
    (tmp_path / "single.csv").write_text("path,label\n" + "".join(f"{i}.mp4,{c}\n" for i, c in enumerate("aaaabcc")))
    index = read_index(str(tmp_path / "single.csv"), kind="video")
    weights = class_weights("balanced", index, ("a", "b", "c"))
    assert weights is not None
    assert weights == pytest.approx([7 / 12, 7 / 3, 7 / 6])
    assert weights[index.labels.numpy()].mean() == pytest.approx(1)
    (tmp_path / "multi.csv").write_text("path,labels\n1.mp4,a\n2.mp4,a;b\n3.mp4,a\n4.mp4,\n")
    index = read_index(str(tmp_path / "multi.csv"), kind="video", labels="multi")
    assert class_weights("balanced", index, ("a", "b")) == pytest.approx([1 / 3, 3])


@pytest.mark.parametrize(
    ("name", "content", "faults"),
    [
        ("w.json", '{"walk": 1, "run": 2}', ["class 'run' is none of the data's", "class 'rum' is missing"]),
        ("w.csv", "class,weight\nwalk,heavy\nrum,1\n", ["class 'walk' has the weight 'heavy'; expected a number"]),
        ("w.csv", "class,weight\nwalk,-1\nrum,1\n", ["has the weight -1.0"]),
        ("w.json", '{"walk": 0, "rum": 0}', ["all weights are 0"]),
        ("w.csv", "walk,1\n", ["expected CSV with columns class and weight"]),
        ("w.json", "{", ["is no JSON"]),
    ],
)
def test_faults_of_a_file_of_weights_are_said_together(
    name: str, content: str, faults: list[str], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    unused: Any = None
    with pytest.raises(UserError) as found:
        class_weights(str(tmp_path / name), unused, ("walk", "rum"))
    assert all(fault in str(found.value) for fault in faults)


def test_weights_from_a_file(tmp_path: Path) -> None:
    unused: Any = None
    (tmp_path / "w.csv").write_text("class,weight\nrun,2\nwalk,0.5\n")
    (tmp_path / "w.json").write_text('{"run": 2, "walk": 0.5}')
    for name in ("w.csv", "w.json"):
        assert class_weights(str(tmp_path / name), unused, ("walk", "run")) == pytest.approx([0.5, 2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task.best_by": "mAP"}, "labels single is measured by top1, top5, mean_class, loss"),
        ({"task.best_by": "top5", "task.labels": "multi"}, "labels multi is measured by mAP, top1, loss"),
        ({"task.focal_gamma": "3"}, "focal_gamma 3 is for loss focal"),
        ({"task.loss": "focal", "task.focal_alpha": "0.25"}, "focal_alpha 0.25 is for loss focal of labels multi"),
        (
            {
                "task.loss": "focal",
                "task.labels": "multi",
                "task.focal_alpha": "0.25",
                "task.class_weights": "balanced",
            },
            "one weight for all classes, class_weights one for each",
        ),
        ({"data.balanced": "true", "task.class_weights": "balanced"}, "rare ones would count too much"),
        ({"data.balanced": "true", "task.labels": "multi"}, "for videos with one label"),
        ({"task.class_weights": "balancd"}, "expected balanced or a file"),
        ({"training.patience": "2", "data.val": ""}, "--training.patience needs a validation"),
    ],
)
def test_combinations_without_sense_are_refused(
    sample: Path, options: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        train(
            tiny_config(sample, **{key.replace(".", "__"): value for key, value in options.items()}), work_dir=tmp_path
        )


@given(st.integers(2, 6), st.integers(1, 30), st.integers(0, 2**31))
def test_per_class_metrics_are_those_of_torchmetrics(num_classes: int, videos: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand((videos, num_classes), generator=generator)
    labels = torch.randint(0, num_classes, (videos,), generator=generator)
    metrics = recognition_metrics("single", num_classes, torch.device("cpu"))
    metrics.update(scores, labels)
    found = metrics.per_class()
    options: dict[str, Any] = {"num_classes": num_classes, "average": "none"}
    for name, function in (
        ("precision", multiclass_precision), ("recall", multiclass_recall), ("f1", multiclass_f1_score)
    ):  # fmt: skip
        # torchmetrics has 0 where a metric is undefined.
        assert getattr(found, name).nan_to_num().tolist() == pytest.approx(function(scores, labels, **options).tolist())
    assert found.support.tolist() == torch.bincount(labels, minlength=num_classes).tolist()
    assert found.precision.isnan().tolist() == [c not in scores.argmax(1) for c in range(num_classes)]
    assert found.recall.isnan().tolist() == [c not in labels for c in range(num_classes)]


def test_per_class_metrics_of_several_labels() -> None:
    generator = torch.Generator().manual_seed(3)
    scores = torch.rand((40, 5), generator=generator)
    hot = (torch.rand((40, 5), generator=generator) < 0.3).long()
    hot[:, 4] = 0  # never
    metrics = recognition_metrics("multi", 5, torch.device("cpu"))
    metrics.update(scores, torch.where(hot > 0, torch.arange(5), -1))
    found = metrics.per_class()
    assert found.support.tolist() == hot.sum(0).tolist()
    f1 = multilabel_f1_score(scores, hot, num_labels=5, average="none")
    assert found.f1.nan_to_num().tolist() == pytest.approx(f1.tolist())
    assert found.average_precision is not None
    precision = multilabel_average_precision(scores[:, :4], hot[:, :4], num_labels=4, average="none")
    assert found.average_precision[:4].tolist() == pytest.approx(precision.tolist())
    assert metrics.compute()[0]["mAP"] == pytest.approx(precision.mean().item())
    table = per_class_table(found, "abcde")
    assert table[0] == ["class", "support", "precision", "recall", "f1", "AP"]
    assert (table[5][0], table[5][1], table[5][3], table[5][5]) == ("e", 0, None, None)


def test_a_test_leaves_tables_that_agree_with_its_metrics(tiny_run: Path, tmp_path: Path) -> None:
    test = ["test", str(tiny_run), "--work-dir", str(tmp_path), "--dump", str(tmp_path / "scores.npz"), "--json"]
    assert main(test) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    rows = list(csv.DictReader((tmp_path / "per_class.csv").open()))
    assert [row["class"] for row in rows] == sorted(row["class"] for row in rows)
    assert sum(int(row["support"]) for row in rows) == metrics["videos"] == 16
    assert np.mean([float(row["recall"]) for row in rows]) == pytest.approx(metrics["mean_class"])
    header, *confusion = list(csv.reader((tmp_path / "confusion.csv").open()))
    assert header[1:] == [row["class"] for row in rows] == [line[0] for line in confusion]
    counts = np.array([line[1:] for line in confusion], int)
    assert counts.sum(1).tolist() == [int(row["support"]) for row in rows]
    assert counts.trace() / 16 == pytest.approx(metrics["top1"])
    table = tmp_path / "again.json"
    results = ["evaluate", "recognition", "--results", str(tmp_path / "scores.npz"), "--json"]
    assert main([*results, "--per-class", str(table)]) == 0
    again = json.loads(table.read_text())
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in again] == rows
    scores = np.load(tmp_path / "scores.npz")
    nll = -np.log(scores["scores"][np.arange(16), scores["labels"]].astype(float)).mean()
    assert metrics["loss"] == pytest.approx(nll, rel=1e-4)
