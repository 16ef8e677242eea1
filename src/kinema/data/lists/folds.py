"""Division of the videos of one list into folds, or into training and validation videos."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from kinema.data.lists.index import Index, select_rows
from kinema.data.lists.layouts import column_of
from kinema.data.lists.tables import BLANKS, annotation_is_folder, open_table
from kinema.errors import UserError

_PARTS = 20
"""Largest number of parts of which a fraction of the videos is made up."""
GROUP = "group"
"""Column of groups that is heeded without being asked for."""


def split(index: Index, held_out: Sequence[int], *, folds: int, group_by: str, seed: int) -> tuple[Index, Index]:
    """Return the videos outside and inside the folds `held_out`; see `folds_of`.

    Raises:
        UserError: also where one of both would have no videos.
    """
    inside = np.isin(folds_of(index, folds, group_by=group_by, seed=seed), list(held_out))
    if inside.all() or not inside.any():
        raise UserError(
            f"'{index.source}': {len(index)} videos are too few to be divided by --data.folds or --data.val-fraction"
        )
    return select_rows(index, np.flatnonzero(~inside)), select_rows(index, np.flatnonzero(inside))


def parts_of(fraction: float, index: Index, *, group_by: str) -> tuple[int, int]:
    """Return a fraction of the videos as (folds held out, folds), of which there are no more than groups.

    Raises:
        UserError: see `groups_of`.
    """
    groups = groups_of(index, group_by)
    most = len(index) if groups is None else int(groups.max()) + 1
    ratio = Fraction(fraction).limit_denominator(max(2, min(_PARTS, most)))
    return max(1, ratio.numerator), ratio.denominator if ratio else min(_PARTS, most)


def folds_of(index: Index, folds: int, *, group_by: str, seed: int) -> NDArray[np.int64]:
    """Return the fold of each video, (N,) int64, determined by the seed and the order of the videos.

    Videos of a group are in the same fold: those with the same value in the column `group_by` of a table, by default
    the column `group` if there is one, or else segments of the same video. Without groups, the numbers of videos in two
    folds, and of videos of a class, differ by one at most; groups are distributed so that the classes are balanced as
    well as is possible greedily.

    Raises:
        UserError: there are fewer videos or groups than folds, or see `groups_of`.
    """
    groups = groups_of(index, group_by)
    most, what = (len(index), "videos") if groups is None else (int(groups.max()) + 1, f"'{group_by or GROUP}' groups")
    if folds > most:
        raise UserError(f"--data.folds {folds}: '{index.source}' has {most} {what}, of which a fold needs one each")
    rng = np.random.default_rng(seed)
    if groups is None and index.label_offsets is None:
        return _stratified(index.labels.numpy(), folds, rng)
    groups = np.arange(len(index)) if groups is None else groups
    order = rng.permutation(int(groups.max()) + 1)
    counts = _counts(index, groups)[order]
    of_group = np.empty(len(order), np.int64)
    of_group[order] = distribute(counts, folds)
    return of_group[groups]


def _stratified(labels: NDArray[np.int32], folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal the shuffled videos of one class after the other to the folds in turn."""
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    result = np.empty(len(labels), np.int64)
    result[order] = rng.permutation(folds)[np.arange(len(labels)) % folds]
    return result


def distribute(counts: NDArray[np.int64], folds: int) -> NDArray[np.int64]:
    """Return the fold of each group, (G,), so that each class is spread evenly over the folds.

    Groups are taken by decreasing spread of their classes, and put where the standard deviation over the folds of the
    share of each class, averaged over the classes, becomes least; of equals, where there are fewest videos. The last
    groups go to folds that are still empty. This is how scikit-learn's `StratifiedGroupKFold` proceeds, which may
    leave folds empty.

    Args:
        counts: (G, classes) videos of each group by class.
        folds: number of folds, at most G.
    """
    shares = counts / np.maximum(counts.sum(0), 1)
    in_fold, videos, groups_in = np.zeros((folds, counts.shape[1])), np.zeros(folds), np.zeros(folds, np.int64)
    result = np.empty(len(counts), np.int64)
    for left, group in zip(range(len(counts), 0, -1), np.argsort(-counts.std(1), kind="stable"), strict=True):
        empty = np.flatnonzero(groups_in == 0)
        candidates = empty if len(empty) == left else np.arange(folds)
        spreads = []
        for fold in candidates:
            in_fold[fold] += shares[group]
            spreads.append(in_fold.std(0).mean())
            in_fold[fold] -= shares[group]
        best = candidates[np.lexsort((videos[candidates], np.round(spreads, 12)))[0]]
        in_fold[best] += shares[group]
        videos[best] += counts[group].sum()
        groups_in[best] += 1
        result[group] = best
    return result


def _counts(index: Index, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the videos of each group by class, (G, classes)."""
    sets = [index.label_set(row) for row in range(len(index))]
    counts = np.zeros(
        (int(groups.max()) + 1, 1 + max((max(labels, default=0) for labels in sets), default=0)), np.int64
    )
    for group, labels in zip(groups, sets, strict=True):
        for label in labels:
            counts[group, label] += 1
    return counts


def groups_of(index: Index, column: str) -> NDArray[np.int64] | None:
    """Return the number of each video's group, counted from 0; None without groups. Segments of a video are one.

    Raises:
        UserError: the list has no such column.
    """
    table = None if annotation_is_folder(index.source) else open_table(index.source)
    if table is None or table.header is None:
        if column:
            raise UserError(f"--data.fold-by {column}: '{index.source}' has no columns; pass a CSV with a header line")
        return None
    if not column and GROUP not in table.header:
        return None if index.segments is None else _numbered(index.paths())
    field = column_of(table, table.header, (column or GROUP).lower())
    values = {line: fields[field].strip(BLANKS) for line, fields in table.rows()}
    return _numbered([values[line] for line in index.lines.tolist()])


def _numbered(names: Sequence[str] | Sequence[bytes]) -> NDArray[np.int64]:
    """Return the number of each name among the distinct ones."""
    return np.unique(np.array(names), return_inverse=True)[1].astype(np.int64)
