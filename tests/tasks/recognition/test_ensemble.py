"""Kept scores, averaged and measured: against averages and counts written out plainly."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kinema.api import evaluation_options, run_test
from kinema.cli.evaluate import recognition
from kinema.errors import UserError
from kinema.tasks.recognition.evaluation.ensemble import evaluate_results

CLASSES = 6


def probabilities(seed: int, count: int = 20, classes: int = CLASSES) -> NDArray[np.float32]:
    scores = np.random.default_rng(seed).exponential(size=(count, classes))
    return (scores / scores.sum(1, keepdims=True)).astype(np.float32)


def labels(count: int = 20) -> NDArray[np.int64]:
    return np.random.default_rng(99).integers(CLASSES, size=count)


def dump(
    path: Path,
    scores: NDArray[np.float32],
    /,
    *,
    folder: str = "/rgb/val",
    suffix: str = ".mp4",
    order: Sequence[int] | None = None,
    **more: NDArray[np.generic] | None,
) -> Path:
    """What `kinema test --dump` writes, of videos `folder/class/number`; `order` says which and in what order."""
    rows = list(range(len(scores))) if order is None else list(order)
    arrays: dict[str, NDArray[np.generic] | None] = {
        "paths": np.array([f"{folder}/{labels()[row]}/{row:03}{suffix}" for row in rows]),
        "labels": labels()[rows],
        "scores": scores[rows],
        "classes": np.array([f"class {i}" for i in range(scores.shape[1])]),
    } | more
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def expected(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> dict[str, float]:
    """By definition: the true class is the best, is among the five best; the mean of the classes' own fractions."""
    ranks = np.array([(row > row[label]).sum() for row, label in zip(scores, truth, strict=True)])
    per_class = [(ranks[truth == label] == 0).mean() for label in np.unique(truth)]
    return {
        "top1": (ranks == 0).mean(),
        "top5": (ranks < 5).mean(),
        "mean_class": float(np.mean(per_class)),
        "videos": len(truth),
    }


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weights=st.lists(st.floats(0.01, 10), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_scores_are_averaged_by_weight(tmp_path: Path, weights: list[float], seed: int) -> None:
    streams = [probabilities(seed + i) for i in range(len(weights))]
    results = [dump(tmp_path / f"{i}.npz", scores) for i, scores in enumerate(streams)]
    average = sum(weight * scores.astype(np.float64) for weight, scores in zip(weights, streams, strict=True))
    assert evaluate_results(results, weights=weights).metrics == pytest.approx(expected(np.asarray(average), labels()))


def test_logits_are_averaged_by_request(tmp_path: Path) -> None:
    logits = [np.random.default_rng(seed).normal(scale=4, size=(20, CLASSES)) for seed in (1, 2)]
    exponentials = [np.exp(one) for one in logits]
    results = [
        dump(tmp_path / f"{i}.npz", (one / one.sum(1, keepdims=True)).astype(np.float32))
        for i, one in enumerate(exponentials)
    ]
    found = evaluate_results(results, weights=(1, 1.5), average="score").metrics
    assert found == pytest.approx(expected(logits[0] + 1.5 * logits[1], labels()))
    assert found != pytest.approx(evaluate_results(results, weights=(1, 1.5)).metrics)


def test_one_result_gives_what_the_test_gave(tiny_run: Path, tmp_path: Path) -> None:
    kept = tmp_path / "scores.npz"
    metrics = run_test(tiny_run, evaluation_options(tiny_run), folder=tmp_path, dump=kept)
    for name in ("bad_files", "loss"):
        del metrics[name]
    assert evaluate_results([kept]).metrics == pytest.approx(metrics)
    truth = evaluation_options(tiny_run).data.val
    assert evaluate_results([kept, kept], ground_truth=Path(truth)).metrics == pytest.approx(metrics)


def test_streams_lie_elsewhere_and_in_another_order(tmp_path: Path) -> None:
    rgb, flow = probabilities(1), probabilities(2)
    shuffled = np.random.default_rng(0).permutation(20).tolist()
    results = [
        dump(tmp_path / "rgb.npz", rgb),
        dump(tmp_path / "flow.npz", flow, folder="s3://store/flow/validation", suffix="", order=shuffled),
    ]
    assert evaluate_results(results).metrics == pytest.approx(expected(np.float64(rgb + flow), labels()))


def test_names_that_occur_in_several_folders_are_told_apart(tmp_path: Path) -> None:
    scores = probabilities(1, count=4)
    truth = np.array([0, 1, 2, 3])
    paths = [f"{label}/{name}.mp4" for label, name in zip("aabb", "1212", strict=True)]
    for name, order in (("a", [0, 1, 2, 3]), ("b", [3, 1, 0, 2])):
        np.savez(
            tmp_path / f"{name}.npz",
            paths=np.array([f"/{name}/{paths[row]}" for row in order]),
            labels=truth[order],
            scores=scores[order],
        )
    found = evaluate_results([tmp_path / "a.npz", tmp_path / "b.npz"]).metrics
    assert found == pytest.approx(expected(np.float64(scores), truth))


def test_a_list_that_repeats_videos_is_tested_and_evaluated_alike(tiny_run: Path, tmp_path: Path) -> None:
    """Two videos stand in the list three times and twice, one of them once with another label."""
    options, kept, listed = evaluation_options(tiny_run), tmp_path / "scores.npz", tmp_path / "val.txt"
    videos = sorted(Path(options.data.val).rglob("*.mp4"))[:5]
    lines = [f"{videos[row]} {label}\n" for row, label in enumerate([0, 1, 2, 3, 4])]
    listed.write_text("".join([*lines, lines[0], f"{videos[2]} 7\n", lines[0]]))
    options.data.val = str(listed)
    metrics = run_test(tiny_run, options, folder=tmp_path, dump=kept)
    assert metrics.pop("bad_files") == 0
    del metrics["loss"]
    assert metrics["videos"] == 8
    assert evaluate_results([kept]).metrics == pytest.approx(metrics)
    assert evaluate_results([kept, kept], ground_truth=listed).metrics == pytest.approx(metrics)


def test_repeated_rows_are_taken_in_their_order(tmp_path: Path) -> None:
    scores, truth = probabilities(1, count=4), np.array([0, 1, 2, 3])
    for name, order in (("a", [0, 1, 2, 3]), ("b", [3, 0, 1, 2])):
        paths = np.array([f"/{name}/v{row // 3}.mp4" for row in order])
        np.savez(tmp_path / f"{name}.npz", paths=paths, labels=truth[order], scores=scores[order])
    found = evaluate_results([tmp_path / "a.npz", tmp_path / "b.npz"]).metrics
    assert found == pytest.approx(expected(np.float64(scores), truth))
    np.savez(tmp_path / "c.npz", paths=np.array(["v0", "v1"]), labels=truth[[0, 3]], scores=scores[[0, 3]])
    with pytest.raises(
        UserError, match=r"a\.npz, 2 are missing elsewhere \(v0 \(named 2 times\), v0 \(named 3 times\)\)"
    ):
        evaluate_results([tmp_path / "a.npz", tmp_path / "c.npz"])


def test_files_that_differ_in_their_suffix_alone(tmp_path: Path) -> None:
    scores, truth = probabilities(1, count=2), np.array([0, 1])
    for name, order in (("a", [0, 1]), ("b", [1, 0])):
        paths = np.array([f"/{name}/01.{('avi', 'mp4')[row]}" for row in order])
        np.savez(tmp_path / f"{name}.npz", paths=paths, labels=truth[order], scores=scores[order])
    found = evaluate_results([tmp_path / "a.npz", tmp_path / "b.npz"]).metrics
    assert found == pytest.approx(expected(np.float64(scores), truth))


def test_segments_of_a_video_are_told_apart(tmp_path: Path) -> None:
    """Also where streams have other suffixes, and against the list that they were tested on."""
    scores, truth, spans = probabilities(1, count=4), np.array([0, 1, 2, 3]), ["0,1.5", "1.5,2", "2,3.25", "0,2"]
    for name, order in (("a.mp4", [0, 1, 2, 3]), ("a.pack", [3, 1, 0, 2])):
        paths = np.array([f"/x/{name}#t={spans[row]}" for row in order])
        np.savez(tmp_path / f"{name}.npz", paths=paths, labels=truth[order], scores=scores[order])
    rows = [f"a.mp4,{span},{label}" for span, label in zip(spans, truth, strict=True)]
    (tmp_path / "list.csv").write_text("\n".join(["path,start,end,label", *rows]))
    results = [tmp_path / "a.mp4.npz", tmp_path / "a.pack.npz"]
    for found in (
        evaluate_results(results).metrics,
        evaluate_results(results, ground_truth=tmp_path / "list.csv").metrics,
    ):
        assert found == pytest.approx(expected(np.float64(scores), truth))


@pytest.mark.parametrize("form", ["list", "csv", "npz"])
def test_ground_truth_of_its_own(tmp_path: Path, form: str) -> None:
    scores = probabilities(1)
    result = dump(tmp_path / "a.npz", scores, labels=None)
    with pytest.raises(UserError, match=r"a\.npz has no labels: .*--ground-truth"):
        evaluate_results([result])
    names = [f"{label}/{row:03}.mp4" for row, label in enumerate(labels())]
    truth = tmp_path / {"list": "val.txt", "csv": "val.csv", "npz": "val.npz"}[form]
    if form == "list":
        truth.write_text("".join(f"{name} {label}\n" for name, label in zip(names, labels(), strict=True)))
    elif form == "csv":
        rows = (f"{name},class {label}\n" for name, label in zip(names, labels(), strict=True))
        truth.write_text("path,label\n" + "".join(rows))
    else:
        np.savez(truth, paths=np.array(names), labels=labels())
    assert evaluate_results([result], ground_truth=truth).metrics == pytest.approx(
        expected(np.float64(scores), labels())
    )


def test_missing_videos_are_refused_or_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rgb, flow = probabilities(1), probabilities(2)
    results = [dump(tmp_path / "rgb.npz", rgb), dump(tmp_path / "flow.npz", flow, order=range(3, 20))]
    with pytest.raises(UserError, match=r"of 20 in .*rgb\.npz, 3 are missing elsewhere \(000, 001, 002\); --skip"):
        evaluate_results(results)
    found = evaluate_results(results, skip_missing=True).metrics
    assert found == pytest.approx(expected(np.float64(rgb + flow)[3:], labels()[3:]))
    assert "rgb.npz: 3 of 20 videos are left out" in caplog.text


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"scores": probabilities(1, classes=4), "classes": None}, "has scores of 6 classes, .* of 4"),
        ({"scores": 2 * probabilities(1)}, "sums are 2 to 2"),
        ({"scores": np.log(probabilities(1))}, "are not probabilities"),
        ({"scores": probabilities(1) * np.float32("nan")}, "are not probabilities"),
        ({"scores": np.zeros((20, CLASSES), np.int64)}, "scores are int64; expected probabilities"),
        ({"scores": probabilities(1)[:5]}, r"scores of shape \(5, 6\) for 20 paths"),
        ({"scores": None}, "has no scores; it holds paths, labels, classes"),
        ({"labels": (labels() + 1) % CLASSES}, "label 20 videos differently: /rgb/val/.* is . in one and . in the "),
        ({"labels": labels() / 2}, "labels are float64 of shape"),
        ({"classes": np.array([f"class {5 - i}" for i in range(6)])}, "class 0 is 'class 0' in one and 'class 5'"),
        ({"classes": np.array(["a", "b"])}, "2 class names for scores of 6 classes"),
        ({"paths": np.array(["/x/a.mp4"] * 20)}, r"not the same videos"),
        ({"paths": np.array([f"/x/other{i}.mp4" for i in range(20)])}, "not the same videos"),
    ],
)  # fmt: skip
def test_results_that_do_not_agree_are_refused(tmp_path: Path, more: dict[str, NDArray[np.generic]], said: str) -> None:
    results = [dump(tmp_path / "a.npz", probabilities(0)), dump(tmp_path / "b.npz", probabilities(1), **more)]
    with pytest.raises(UserError, match=said):
        evaluate_results(results)


def test_labels_outside_the_classes_are_refused(tmp_path: Path) -> None:
    result = dump(tmp_path / "a.npz", probabilities(0), labels=labels() + CLASSES)
    with pytest.raises(UserError, match=r"but the results are of 6 classes, counted from 0"):
        evaluate_results([result])


@pytest.mark.parametrize("content", [b"", b"not an npz", b"PK\x03\x04 cut short"])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    for path in (tmp_path / "a.npz", tmp_path / "none.npz"):
        with pytest.raises(UserError, match=r"is no npz file|cannot be read"):
            evaluate_results([path])


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", paths=np.array(["a", None], dtype=object), scores=probabilities(0, count=2))
    with pytest.raises(UserError, match="is no npz file of arrays without pickled objects"):
        evaluate_results([tmp_path / "a.npz"])


@pytest.mark.parametrize("weights", [(1,), (1, 2, 3), (0, 0), (1, -1), (1, float("nan"))])
def test_weights_are_checked(tmp_path: Path, weights: tuple[float, ...]) -> None:
    result = dump(tmp_path / "a.npz", probabilities(0))
    with pytest.raises(UserError, match="weights"):
        evaluate_results([result, result], weights=weights)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rgb, flow = probabilities(1), probabilities(2)
    results = [str(dump(tmp_path / f"{name}.npz", scores)) for name, scores in (("rgb", rgb), ("flow", flow))]
    assert recognition.run(["--results", *results, "--weights", "1", "1.5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["top1", "top5", "mean_class", "videos"]
    assert found == pytest.approx(expected(rgb + 1.5 * np.float64(flow), labels()))
    assert recognition.run(["--results", *results]) == 0
    assert "mean_class" in capsys.readouterr().out
