"""Any number of classes a video: loss, scores and mean average precision, from the list to the command line."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import kinema
from kinema.api import evaluation_options, run_test, train
from kinema.cli import main
from kinema.data.dataset import stack_labels
from kinema.data.samples import Batch
from kinema.errors import UserError
from kinema.tasks.recognition.evaluation.metrics import recognition_metrics
from kinema.tasks.recognition.losses import training_loss
from kinema.tasks.recognition.options import RecognitionOptions
from kinema.tasks.recognition.scoring import multi_hot, video_scores, view_logits
from tests.conftest import tiny_config


class Means(nn.Module):
    """A model whose logits are the mean pixel of each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3)

    def normalize(self, clips: Tensor) -> Tensor:
        return clips.float()

    def forward(self, clips: Tensor) -> Tensor:
        return clips.float().mean((2, 3, 4)) / 20 - 6


def random_batch(*labels: tuple[int, ...], views: int = 2) -> Batch[Tensor]:
    clips = torch.randint(0, 256, (len(labels), views, 2, 4, 5, 3), dtype=torch.uint8).movedim(-1, 3)
    return Batch(clips, stack_labels(labels), torch.arange(len(labels)))


@given(st.lists(st.sets(st.integers(0, 6)), min_size=1, max_size=6))
def test_multi_hot(labels: list[set[int]]) -> None:
    assert multi_hot(stack_labels(list(map(tuple, labels))), 7).tolist() == [
        [float(c in one) for c in range(7)] for one in labels
    ]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_binary_cross_entropy_over_all_views_and_classes(smoothing: float) -> None:
    labels = [(2, 0), (), (1,)]
    batch = random_batch(*labels)
    loss, right = training_loss(Means(), batch, RecognitionOptions(labels="multi", label_smoothing=smoothing))
    terms, correct = [], 0
    for video, label in zip(batch.inputs, labels, strict=True):
        for view in video:
            logits = [view[:, c].double().mean().item() / 20 - 6 for c in range(3)]
            for c, logit in enumerate(logits):
                wanted = (1 - smoothing) * (c in label) + smoothing / 3
                probability = 1 / (1 + math.exp(-logit))
                terms.append(-wanted * math.log(probability) - (1 - wanted) * math.log(1 - probability))
            correct += logits.index(max(logits)) in label
    assert loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)
    assert right.item() == correct


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_mixed_clips_have_mixed_labels(way: str) -> None:
    """Mixing a clip with one of the same labels changes no label; with other labels a share of them."""
    options = RecognitionOptions(labels="multi", **{way: 1.0})  # type: ignore[arg-type]
    model, seen = Means(), list[Tensor]()
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    same = random_batch((0, 2), (0, 2), views=1)
    loss, _ = training_loss(model, same, options)
    logits = model(seen[0]).double()
    wanted = torch.tensor([1.0, 0, 1]).double().expand(2, 3)
    assert loss.item() == pytest.approx(nn.BCELoss()(logits.sigmoid(), wanted).item(), rel=1e-5)
    other = random_batch((0, 2), (1, 2), views=1)
    torch.manual_seed(3)
    loss, _ = training_loss(model, other, options)
    logits = model(seen[-1]).double()
    # The loss is linear in the share of the neighbour's labels, which is the same for both clips.
    ends = [
        nn.BCELoss()(logits.sigmoid(), torch.tensor([[1 - share, share, 1], [share, 1 - share, 1]]).double()).item()
        for share in (0.0, 1.0)
    ]
    share = (loss.item() - ends[0]) / (ends[1] - ends[0])
    assert -1e-4 < share < 1 + 1e-4
    assert logits.shape == (2, 3)


@pytest.mark.parametrize("average", ["score", "prob", "max"])
def test_scores_over_views(average: str) -> None:
    clips = random_batch((0,), (1,), views=5).inputs
    scores = video_scores(view_logits(Means(), clips), RecognitionOptions(labels="multi", average=average))  # type: ignore[arg-type]
    for video, score in zip(clips, scores, strict=True):
        for c in range(3):
            logits = [view[:, c].double().mean().item() / 20 - 6 for view in video]
            chances = [1 / (1 + math.exp(-logit)) for logit in logits]
            mean = 1 / (1 + math.exp(-sum(logits) / 5))
            wanted = {"score": mean, "prob": sum(chances) / 5, "max": max(chances)}[average]
            assert score[c].item() == pytest.approx(wanted, rel=1e-4)


def test_the_highest_score_is_for_any_number_of_labels() -> None:
    with pytest.raises(ValueError, match="is for labels multi"):
        RecognitionOptions(average="max")


def average_precision(scores: list[float], positive: list[bool]) -> float:
    """Mean over the positives of the precision at their rank; equal scores have one rank, the last."""
    ranks = [sum(other >= score for other in scores) for score in scores]
    hits = [sum(p for other, p in zip(scores, positive, strict=True) if other >= score) for score in scores]
    return float(np.mean([hit / rank for hit, rank, p in zip(hits, ranks, positive, strict=True) if p]))


@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 2**31), st.booleans())
def test_metrics_equal_their_definition(num_classes: int, videos: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, (videos, num_classes)) / 5 if ties else rng.random((videos, num_classes))
    hot = rng.random((videos, num_classes)) < 0.4
    labels = torch.from_numpy(np.where(hot, np.arange(num_classes), -1))
    metrics = recognition_metrics("multi", num_classes, torch.device("cpu"))
    for part in range(0, videos, 7):
        metrics.update(torch.from_numpy(scores[part : part + 7]).float(), labels[part : part + 7])
    found, confusion = metrics.compute()
    assert confusion is None
    assert found["videos"] == videos
    if num_classes == 1:
        assert found["top1"] == pytest.approx(np.mean((scores >= 0.5) == hot))
    else:
        assert found["top1"] == pytest.approx(np.mean([hot[row, scores[row].argmax()] for row in range(videos)]))
    each = [
        average_precision(scores[:, c].astype(np.float32).tolist(), hot[:, c].tolist())
        for c in range(num_classes)
        if hot[:, c].any()
    ]
    if each:
        assert found["mAP"] == pytest.approx(np.mean(each), abs=1e-5)
    else:
        assert math.isnan(found["mAP"])


@pytest.fixture(scope="module")
def run(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on a list in which every video also has the label 8, and every second one has label 9."""
    folder = tmp_path_factory.mktemp("multi")
    for split in ("train", "val"):
        videos = [
            (path, place)
            for place, name in enumerate(sorted((sample / split).iterdir()))
            for path in sorted(name.iterdir())
        ]
        lines = [f"{path} {place} 8{' 9' * (k % 2)}\n" for k, (path, place) in enumerate(videos)]
        (folder / f"{split}.txt").write_text("".join(lines))
    config = tiny_config(
        sample, data__train=str(folder / "train.txt"), data__val=str(folder / "val.txt"), task__labels="multi",
        task__average="max", model__num_classes="10",
    )  # fmt: skip
    train(config, work_dir=folder / "run")
    return folder / "run"


def test_a_run_is_measured_by_mean_average_precision(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    validations = [row for row in rows if row["split"] == "val"]
    assert all({"epoch", "mAP", "top1", "videos", "bad_files"} <= set(row) for row in validations)
    assert "confusion" not in {path.stem for path in run.rglob("*.png")}
    best = json.loads((run / "checkpoints" / "last" / "training.json").read_text())
    assert max(row["mAP"] for row in validations) in [best["position"]["best"], *best.values()]


def test_test_evaluate_and_predict(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", str(run), "--json", "--work-dir", str(tmp_path), "--dump", str(tmp_path / "a.npz")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"loss", "mAP", "top1", "videos", "bad_files"}
    assert found["top1"] == 1.0 or found["mAP"] < 1
    assert not (tmp_path / "confusion.png").exists()
    with np.load(tmp_path / "a.npz") as kept:
        assert kept["labels"].shape == kept["scores"].shape == (16, 10)
        assert kept["labels"].sum() == 16 * 2 + 8
        each = [
            average_precision(kept["scores"][:, c].tolist(), (kept["labels"][:, c] == 1).tolist()) for c in range(10)
        ]
        assert found["mAP"] == pytest.approx(np.mean(each), abs=1e-5)
        video = str(kept["paths"][0])
        scores = kept["scores"][0]
    for more in ([], ["--ground-truth", str(run.parent / "val.txt"), "--labels", "multi"]):
        assert main(["evaluate", "recognition", "--results", str(tmp_path / "a.npz"), "--json", *more]) == 0
        again = json.loads(capsys.readouterr().out)
        assert again == pytest.approx({name: found[name] for name in ("mAP", "top1", "videos")}, abs=1e-6)
    answers = kinema.load(run).predict(video, top=10)
    assert [answer.score for answer in answers] == pytest.approx(sorted(scores, reverse=True), abs=1e-4)
    assert sum(answer.score for answer in answers) > 1.01


def test_labels_of_another_kind_are_refused(run: Path, tmp_path: Path) -> None:
    options = evaluation_options(run)
    options.data.val = str(tmp_path / "val.txt")
    (tmp_path / "a.mp4").touch()
    Path(options.data.val).write_text("a.mp4 10\n")
    with pytest.raises(UserError, match=r"val.txt:1: label 10 of '.*a.mp4'"):
        run_test(run, options, folder=tmp_path)
