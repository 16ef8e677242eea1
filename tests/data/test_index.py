"""The index: what a row says, and what the rows cost in loader workers."""

import os
import pickle
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from kinema.data.lists.index import Index, index_paths


def index_of(*paths: str, root: str = "/data") -> Index:
    return index_paths(paths, source="list.txt", root=root)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters=":"), min_size=1), min_size=1))
def test_every_path_comes_back(paths: list[str]) -> None:
    index = index_of(*paths)
    assert len(index) == len(paths)
    assert [index.path(i) for i in range(len(index))] == [p if p.startswith("/") else f"/data/{p}" for p in paths]


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        ("/data", "a/b.mp4", "/data/a/b.mp4"),
        ("/data/", "a/b.mp4", "/data/a/b.mp4"),
        ("/", "b.mp4", "/b.mp4"),
        ("s3://bucket/videos", "a/b.mp4", "s3://bucket/videos/a/b.mp4"),
        ("/data", "/elsewhere/b.mp4", "/elsewhere/b.mp4"),
        ("/data", "s3://bucket/b.mp4", "s3://bucket/b.mp4"),
    ],
)
def test_relative_paths_start_from_root(root: str, path: str, expected: str) -> None:
    assert index_of(path, root=root).path(0) == expected


def test_names_that_are_not_utf8_still_open(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.mp4")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system only takes UTF-8 names")
    (file,) = tmp_path.iterdir()
    assert Path(index_of(file.name, root=str(tmp_path)).path(0)).read_bytes() == b"x"


def test_rows_without_labels_and_frame_counts() -> None:
    index = index_of("a.mp4", "b.mp4")
    assert [index.label(1), index.num_frames(1), index.class_names] == [-1, 0, None]
    assert index.labels.tolist() == [-1, -1]


def test_a_pickled_index_is_the_same() -> None:
    index = index_paths(["a.mp4", "é b.mp4"], [1, 0], source="list.txt", root="r", class_names=("x", "y"))
    copy = pickle.loads(pickle.dumps(index))
    assert [(copy.path(i), copy.label(i)) for i in range(2)] == [("r/a.mp4", 1), ("r/é b.mp4", 0)]
    assert copy.class_names == ("x", "y")


class Rows(Dataset):
    """Looks at every row and answers with the memory that the looking process has written for itself alone."""

    def __init__(self, rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> int:
        if isinstance(self.rows, Index):
            index = self.rows
            sum(len(index.path(i)) for i in range(len(index)))
            index.labels.sum(), index.frame_counts.sum(), index.lines.sum()
        else:
            sum(len(path) + label for path, label in self.rows)
        return sum(mapping.private_dirty for mapping in psutil.Process().memory_maps())


def own_memory(rows, method: str) -> int:
    """Bytes written in a loader worker's pages that no other process maps, after it has looked at every row.

    Pages read from files, as those of libraries, come and go with the other processes that map them.
    """
    (size,) = DataLoader(Rows(rows), batch_size=None, num_workers=1, multiprocessing_context=method)
    return size


PATHS = [f"class_{i % 400:03d}/{'x' * 80}_{i:08d}.mp4" for i in range(200_000)]
LABELS = [i % 400 for i in range(200_000)]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_the_index(method: str) -> None:
    index = index_paths(PATHS, LABELS, source="list.txt", root="/data")
    size = sum(a.nbytes for a in (index.path_bytes, index.offsets, index.labels, index.frame_counts, index.lines))
    assert size > 20e6
    what_any_worker_has = own_memory(index_of("a.mp4"), method)
    assert own_memory(index, method) - what_any_worker_has < size / 4


def test_workers_would_copy_a_list() -> None:
    """The measure above can tell the difference: this is what the index is there to avoid."""
    rows = list(zip(PATHS, LABELS, strict=True))
    size = sum(map(len, PATHS))
    assert own_memory(rows, "fork") - own_memory(index_of("a.mp4"), "fork") > size / 2
