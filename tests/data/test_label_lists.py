"""Lists whose videos have any number of labels, against plain Python over the same text."""

import csv
import io
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.dataset import ClipDataset, ViewDataset, open_train_index, stack_labels
from kinema.data.lists.annotations import check_labels, read_index
from kinema.data.lists.index import Index
from kinema.data.loader import EvalBatches, load
from kinema.data.options import DataOptions
from kinema.data.samples import SampleKey
from kinema.data.sampling import Sampling
from kinema.data.views import ViewCrops, Views
from kinema.errors import UserError
from tests.conftest import tiny_config
from tests.data.drawn_videos import write_video

Row = tuple[str, tuple[int, ...]]

names = st.text(string.ascii_letters + "本/._-", min_size=1, max_size=12).map(lambda name: f"/{name}")
label_sets = st.lists(st.integers(0, 999), max_size=5)


def rows_of(index: Index) -> list[Row]:
    return [(index.path(i), index.label_set(i)) for i in range(len(index))]


def write(folder: Path, text: str, name: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lists")


@given(st.lists(st.tuples(names, label_sets.filter(bool)), min_size=1, max_size=9), st.sampled_from([" ", "\t", "  "]))
def test_lists_of_videos(scratch: Path, rows: list[tuple[str, list[int]]], between: str) -> None:
    text = "".join(between.join([path, *map(str, labels)]) + "\n" for path, labels in rows)
    index = read_index(write(scratch, text, "list.txt"), kind="video", labels="multi")
    assert rows_of(index) == [(path, tuple(labels)) for path, labels in rows]


@given(st.lists(st.tuples(names, st.integers(0, 500), label_sets.filter(bool)), min_size=1, max_size=9))
def test_lists_of_rawframes(scratch: Path, rows: list[tuple[str, int, list[int]]]) -> None:
    text = "".join(f"{path} {frames} {' '.join(map(str, labels))}\n" for path, frames, labels in rows)
    index = read_index(write(scratch, text, "list.txt"), kind="rawframes", labels="multi")
    assert rows_of(index) == [(path, tuple(labels)) for path, _, labels in rows]
    assert [index.num_frames(i) for i in range(len(index))] == [frames for _, frames, _ in rows]


@given(
    st.lists(st.tuples(names, label_sets), min_size=1, max_size=9),
    st.sampled_from([";", "; ", " ;", ";;"]),
    st.booleans(),
    st.booleans(),
)
def test_tables(
    scratch: Path, rows: list[tuple[str, list[int]]], between: str, label_first: bool, quoted: bool
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerow(["labels", "path"] if label_first else ["path", "labels"])
    for path, labels in rows:
        fields = [path, between.join(map(str, labels))]
        writer.writerow(fields[::-1] if label_first else fields)
    index = read_index(write(scratch, text.getvalue(), "table.csv"), kind="video")
    assert rows_of(index) == [(path, tuple(labels)) for path, labels in rows]


def test_rows_of_many_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"/video {k}", tuple(range(k % 4))) for k in range(200)]
    text = "path,labels,fold\n" + "".join(
        f"{path},{';'.join(map(str, labels))},{len(labels)}\n" for path, labels in rows
    )
    path = write(tmp_path, text, "table.csv")
    monkeypatch.setattr("kinema.data.lists.rows._CHUNK", 7)
    assert rows_of(read_index(path, kind="video")) == rows
    assert rows_of(read_index(path, kind="video", where="fold!=2")) == [row for row in rows if len(row[1]) != 2]


def test_names_of_classes(tmp_path: Path) -> None:
    path = write(tmp_path, "path,labels\na,\nb,sit down; stand up\nc,run\n", "table.csv")
    index = read_index(path, kind="video")
    assert index.class_names == ("run", "sit down", "stand up")
    assert [index.label_set(i) for i in range(3)] == [(), (1, 2), (0,)]
    index = read_index(path, kind="video", classes=["stand up", "run", "jump", "sit down"])
    assert [index.label_set(i) for i in range(3)] == [(), (3, 0), (1,)]
    with pytest.raises(UserError, match=r"csv:3: label 'sit down' is not a known class; did you mean 'sit dwn'\?"):
        read_index(path, kind="video", classes=["stand up", "run", "sit dwn"])


def test_class_folders_have_one_label_each(sample: Path) -> None:
    one, several = (read_index(sample / "val", kind="video", labels=labels) for labels in ("single", "multi"))  # type: ignore[arg-type]
    assert [several.label_set(i) for i in range(len(several))] == [(one.label(i),) for i in range(len(one))]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("list.txt", "a.mp4 1 2\nb.mp4\n", r"txt:2: no label: 'b.mp4'"),
        ("list.txt", "a.mp4 1 2\nb.mp4 3 x 4\n", r"txt:2: the label is not a whole number: 'b.mp4 3 x 4'"),
        ("list.txt", "my video.mp4 1 2\n", r"txt:1: the label is not a whole number[^$]*paths with blanks"),
        ("table.csv", "path,labels\na,1;x\nb,1;2\n", r"csv:2: the label is not a whole number[^$]*';' between them"),
        ("table.csv", "path,label\na,0;1\nb,1;7\n", r"csv:3: label 7 of '.*b'"),
    ],
)
def test_faults_are_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_labels(read_index(write(tmp_path, text, name), kind="video", labels="multi"), 5)


def test_a_table_of_labels_where_one_is_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "path,labels\na,1;2\n", "table.csv")
    with pytest.raises(UserError, match=r"that is --task\.labels multi"):
        open_train_index(DataOptions(train=str(path)))


def test_labels_reach_the_batch(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    path = write(tmp_path, "a.mp4 3 1\na.mp4 2\na.mp4 0 1 2\n", "list.txt")
    index = read_index(path, kind="video", labels="multi")
    views = Views(sampling=Sampling(clip_len=2), crops=ViewCrops(short_side=16, size=16))
    batch = next(iter(load(ViewDataset(index, views, DataOptions()), EvalBatches(3, 3), workers=0)))
    assert batch.targets.tolist() == [[3, 1, -1], [2, -1, -1], [0, 1, 2]]
    assert len(batch) == 3
    assert stack_labels([()]).shape == (1, 0)


def test_a_flip_turns_each_label(sample: Path) -> None:
    config = tiny_config(sample)
    config.data.train_clip.crop.flip, config.data.train_clip.crop.flip_pairs = 1.0, ("0:1", "4:6")
    index = read_index(sample / "train", kind="video", labels="multi")
    index.labels[:3] = 1
    result = ClipDataset(index, [config.data.train_clip], config.data)[SampleKey(0, 1)]
    assert result.sample is not None
    assert result.sample.target == (0,)
    assert config.data.train_clip.crop.flipped_label((6, 2, 0)) == (4, 2, 1)
