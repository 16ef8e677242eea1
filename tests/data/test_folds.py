"""Division of a list into folds, compared with scikit-learn."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from kinema.data.lists.annotations import read_index
from kinema.data.lists.folds import distribute, folds_of, groups_of, parts_of, split
from kinema.data.lists.index import Index, index_paths, select_rows
from kinema.errors import UserError

LABELS = st.lists(st.integers(0, 4), min_size=6, max_size=60)


def index_of(labels: list[int]) -> Index:
    paths = [f"{row}.mp4" for row in range(len(labels))]
    return index_paths(paths, labels, source=".", root=".", class_names=tuple("abcde"))


def csv(folder: Path, rows: list[tuple[int, int]], *, column: str = "group", labels: str = "label") -> Index:
    lines = [f"{number}.mp4,{label},{group}" for number, (label, group) in enumerate(rows)]
    (folder / "list.csv").write_text("\n".join([f"path,{labels},{column}", *lines]) + "\n")
    return read_index(folder / "list.csv", kind="video", labels="multi" if labels == "labels" else "single")


@given(labels=LABELS, folds=st.integers(2, 6), seed=st.integers(0, 9))
def test_videos_without_groups_are_balanced_within_one(labels: list[int], folds: int, seed: int) -> None:
    found = folds_of(index_of(labels), folds, group_by="", seed=seed)
    sizes = [int((found == fold).sum()) for fold in range(folds)]
    assert sum(sizes) == len(labels)
    assert max(sizes) - min(sizes) <= 1
    for label in set(labels):
        counts = [int(((found == fold) & (np.array(labels) == label)).sum()) for fold in range(folds)]
        assert max(counts) - min(counts) <= 1
    assert (found == folds_of(index_of(labels), folds, group_by="", seed=seed)).all()


def test_another_seed_is_another_division() -> None:
    labels = [0, 1] * 20
    assert (
        folds_of(index_of(labels), 4, group_by="", seed=0) != folds_of(index_of(labels), 4, group_by="", seed=1)
    ).any()


@settings(max_examples=40)
@given(rows=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=10, max_size=60), seed=st.integers(0, 3))
def test_groups_are_never_split_and_no_fold_is_empty(
    rows: list[tuple[int, int]], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    groups = [group for _, group in rows]
    index, folds = csv(tmp_path_factory.mktemp("list"), rows), min(4, len(set(groups)))
    if folds < 2:
        return
    found = folds_of(index, folds, group_by="", seed=seed)
    assert set(found.tolist()) == set(range(folds))
    assert len({*zip(groups, found.tolist(), strict=True)}) == len(set(groups))
    for fold in range(folds):
        train, val = split(index, [fold], folds=folds, group_by="", seed=seed)
        assert sorted(train.paths() + val.paths()) == sorted(index.paths())
        assert {groups[index.paths().index(path)] for path in val.paths()} == {
            group for group, at in zip(groups, found, strict=True) if at == fold
        }


@settings(max_examples=60)
@given(data=st.data())
def test_groups_are_distributed_as_scikit_learn_does(data: st.DataObject) -> None:
    folds, size = data.draw(st.integers(2, 5)), data.draw(st.integers(8, 14))
    groups = np.repeat(np.arange(size), data.draw(st.lists(st.integers(1, 9), min_size=size, max_size=size)))
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(groups), max_size=len(groups))))
    if Counter(labels.tolist()).most_common()[-1][1] < folds:  # refused by scikit-learn
        return
    counts = np.zeros((size, 3), np.int64)
    np.add.at(counts, (groups, labels), 1)
    counts = counts[:, np.unique(labels)]
    theirs = np.empty(len(groups), int)
    for fold, (_, test) in enumerate(StratifiedGroupKFold(folds).split(labels, labels, groups)):
        theirs[test] = fold
    if len(set(theirs.tolist())) < folds:  # where theirs leaves a fold empty, ours does not
        return
    ours = distribute(counts, folds)[groups]
    assert imbalance(ours, labels, folds) <= imbalance(theirs, labels, folds) + 0.1


def imbalance(folds: np.ndarray, labels: np.ndarray, count: int) -> float:
    """Standard deviation over the folds of the share of each class, averaged."""
    shares = [
        [((folds == fold) & (labels == label)).sum() / (labels == label).sum() for fold in range(count)]
        for label in np.unique(labels)
    ]
    return float(np.std(shares, axis=1).mean())


def test_as_many_folds_as_groups_leave_one_group_out(tmp_path: Path) -> None:
    rows = [(number % 3, number % 9) for number in range(45)]
    index = csv(tmp_path, rows, column="actor")
    found = folds_of(index, 9, group_by="Actor", seed=0)
    assert len({*zip(found.tolist(), (group for _, group in rows), strict=True)}) == 9
    assert groups_of(index, "") is None


def test_several_labels_of_a_video(tmp_path: Path) -> None:
    lines = [f"{number}.mp4,{number % 2};{2 + number % 3}" for number in range(24)]
    (tmp_path / "list.csv").write_text("\n".join(["path,labels", *lines]) + "\n")
    index = read_index(tmp_path / "list.csv", kind="video", labels="multi")
    train, val = split(index, [0], folds=4, group_by="", seed=0)
    assert (len(train), len(val)) == (18, 6)
    assert [train.label_set(row) for row in range(18)] == [
        index.label_set(index.paths().index(path)) for path in train.paths()
    ]
    counts = Counter(label for row in range(6) for label in val.label_set(row))
    assert all(abs(counts[label] - even) <= 1 for label, even in enumerate((3, 3, 2, 2, 2)))


@pytest.mark.parametrize(
    ("fraction", "parts"), [(0.2, (1, 5)), (0.25, (1, 4)), (0.3, (3, 10)), (0.5, (1, 2)), (0.01, (1, 20))]
)
def test_a_fraction_is_so_many_folds(fraction: float, parts: tuple[int, int]) -> None:
    assert parts_of(fraction, index_of([0, 1] * 30), group_by="") == parts


def test_selected_rows_are_those_of_the_index() -> None:
    index = index_of([0, 1, 2, 3])
    some = select_rows(index, np.array([3, 1]))
    assert some.paths() == ["./3.mp4", "./1.mp4"]
    assert some.labels.tolist() == [3, 1]
    assert len(some) == 2


def test_what_cannot_be_divided_is_refused(tmp_path: Path) -> None:
    index = csv(tmp_path, [(0, 0), (1, 0), (0, 1)])
    with pytest.raises(UserError, match=r"--data.folds 3: .* has 2 'group' groups, of which a fold needs one each"):
        folds_of(index, 3, group_by="", seed=0)
    with pytest.raises(UserError, match="no column 'scene'"):
        folds_of(index, 2, group_by="scene", seed=0)
    (tmp_path / "list.txt").write_text("a.mp4 0\nb.mp4 1\n")
    with pytest.raises(UserError, match=r"--data.fold-by scene: .* has no columns; pass a CSV"):
        folds_of(read_index(tmp_path / "list.txt", kind="video"), 2, group_by="scene", seed=0)
