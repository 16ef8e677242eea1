"""What preparations list, training reads: the same videos with the same classes, whatever these are called."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from kinema.data.kinds import MediaKind
from kinema.data.lists.annotations import read_index
from kinema.data.lists.class_names import class_file_text, read_class_names
from kinema.data.lists.index import Index
from kinema.errors import UserError
from kinema.prepare.check import prepare_check
from kinema.prepare.frames import prepare_frames
from kinema.prepare.lists import check_listable, write_list
from kinema.prepare.options import CheckOptions, FramesOptions
from kinema.prepare.sources import LabeledUnits, labeled_units
from kinema.prepare.work.jobs import Unit
from tests.data.drawn_videos import write_video

odd = [
    "0",
    "90",
    "-1",
    "1 a",
    "2 b",
    "a,b",
    'say "go"',
    "it's",
    "label",
    "path",
    "{",
    "[x]",
    "#1",
    "日本",
    "0,a",
    "1;3",
    "1,3",
]
names = st.one_of(
    st.sampled_from(odd),
    st.text(st.characters(codec="utf-8", exclude_characters="/\0\n\r\x1f"), min_size=1, max_size=8),
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)
class_names = st.lists(names.filter(lambda name: name == name.strip(" \t")), min_size=1, max_size=4, unique=True)
videos = st.lists(
    st.tuples(names, st.sets(st.integers(0, 3), max_size=4)), min_size=1, max_size=5, unique_by=lambda v: v[0]
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("round trips")


def labelled(index: Index) -> list[tuple[str, set[str]]]:
    """Paths, and the names of their classes; the classes' numbers where they have no names."""
    called = index.class_names or tuple(map(str, range(100)))
    return [
        (index.path(row).rstrip("/").replace("/./", "/"), {called[k] for k in index.label_set(row)})
        for row in range(len(index))
    ]


def units_of(
    folder: Path, listed: Sequence[tuple[str, set[int]]], classes: tuple[str, ...], *, multi: bool, suffix: str = ""
) -> LabeledUnits:
    count = len(classes) or 4
    labels = [tuple(sorted({k % count for k in some})) for _, some in listed]
    return LabeledUnits(
        units=[Unit(source=name, output=folder / "c l" / f"{name}{suffix}") for name, _ in listed],
        labels=labels if multi else [one[:1] or (0,) for one in labels],
        class_names=classes,
        multi=multi,
    )


@given(names=st.lists(names.filter(lambda name: name == name.strip(" \t")), min_size=1, max_size=6, unique=True))
@example(names=["1 hand", "2 hands"])
@example(names=["0,a", "1,b"])
@example(names=["a,0", "b,1"])
@example(names=['["a"]'])
@example(names=["\u3000a", "b\x85"])
def test_class_files(scratch: Path, names: list[str]) -> None:
    file = scratch / "classes.txt"
    file.write_text(class_file_text(names), newline="")
    assert read_class_names(file) == tuple(names)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("kind", ["rawframes", "packed"])
@given(listed=videos, classes=st.one_of(st.just(()), class_names.map(tuple)))
def test_lists(
    tmp_path_factory: pytest.TempPathFactory,
    kind: MediaKind,
    multi: bool,
    listed: list[tuple[str, set[int]]],
    classes: tuple[str, ...],
) -> None:
    assume(not (multi and any(";" in name for name in classes)))
    folder = tmp_path_factory.mktemp("out")
    units = units_of(folder, listed, classes, multi=multi, suffix=".pack" if kind == "packed" else "")
    check_listable(units, folder)
    for number, unit in enumerate(units.units):
        unit.output.parent.mkdir(exist_ok=True)
        if kind == "packed":
            unit.output.touch()
        else:
            unit.output.mkdir()
            for frame in range(number):
                (unit.output / f"{frame}.jpg").touch()
    if kind == "packed":
        write_list(units, folder, "packed.csv", "packed")
    else:
        write_list(units, folder, "frames.csv", "rawframes", images_per_frame=1)
    file = folder / ("packed.csv" if kind == "packed" else "frames.csv")
    called = classes or tuple(map(str, range(100)))
    wanted = [
        (str(unit.output), {called[k] for k in labels}) for unit, labels in zip(units.units, units.labels, strict=True)
    ]
    options: list[tuple[str, ...] | None] = [None]
    if classes:
        options.append(read_class_names(folder / "classes.txt"))
        assert options[1] == classes
    for given_classes in options:
        index = read_index(file, kind=kind, classes=given_classes, labels="multi" if multi else "single")
        assert labelled(index) == wanted
        if kind == "rawframes":
            assert [index.num_frames(row) for row in range(len(index))] == list(range(len(listed)))


@pytest.mark.parametrize(
    ("name", "classes", "multi"),
    [
        ("a\nb", ("x",), False),
        ("a\udce9", ("x",), False),
        ("a", ("x\ny",), False),
        ("a", ("x ",), False),
        ("a", ("caf\udce9",), False),
        ("a", ("x;y",), True),
    ],
)
def test_names_that_no_list_can_hold_are_refused(
    tmp_path: Path, name: str, classes: tuple[str, ...], multi: bool
) -> None:
    with pytest.raises(UserError, match="rename it"):
        check_listable(units_of(tmp_path, [(name, {0})], classes, multi=multi), tmp_path)


def test_splits_that_lack_classes_keep_their_numbers(tmp_path: Path) -> None:
    """Folders are called by numbers, and validation has no video of the first class nor of the third."""
    for place in ("train/0/a", "train/90/b", "train/180/c d", "train/270/e", "val/90/f", "val/270/g "):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        write_video(tmp_path / f"{place}.mp4", times=range(2))
    for split in ("train", "val"):
        prepare_frames(FramesOptions(source=tmp_path / split, output=tmp_path / "out" / split, short_side=0, workers=1))
    train = read_index(tmp_path / "out/train/frames.csv", kind="rawframes")
    val = read_index(tmp_path / "out/val/frames.csv", kind="rawframes", classes=train.class_names)
    assert train.class_names == val.class_names == ("0", "90", "180", "270")
    assert (train.labels.tolist(), val.labels.tolist()) == ([0, 1, 2, 3], [1, 3])
    assert all(Path(index.path(row)).is_dir() for index in (train, val) for row in range(len(index)))
    again = labeled_units(tmp_path / "out/val/frames.csv", tmp_path / "packed", kind="rawframes", suffix=".pack")
    assert [again.class_names[label] for (label,) in again.labels] == ["90", "270"]


def test_several_labels_with_blanks_in_their_names(tmp_path: Path) -> None:
    write_video(tmp_path / "my clip.mp4", times=range(2))
    (tmp_path / "list.csv").write_text("path,labels\nmy clip.mp4,sit down;1\nmy clip.mp4,\n")
    prepare_frames(FramesOptions(source=tmp_path / "list.csv", output=tmp_path / "out", short_side=0, workers=1))
    index = read_index(tmp_path / "out/frames.csv", kind="rawframes")
    folder = str(tmp_path / "out/my clip")
    assert labelled(index) == [(folder, {"1", "sit down"}), (folder, set())]


def test_clean_lists_of_class_folders(tmp_path: Path) -> None:
    places = ["0/a", "90/b ", "90/ c", "180/d,e", '270/"f"']
    for place in places:
        (tmp_path / "set" / place).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "set" / place / "img_00001.jpg")
    clean, report = tmp_path / "clean.csv", tmp_path / "check.csv"
    prepare_check(CheckOptions(dataset=tmp_path / "set", kind="rawframes", report=report, clean=clean, workers=1))
    index = read_index(clean, kind="rawframes", root=str(tmp_path / "set"))
    wanted = [(str(tmp_path / "set" / place), {place.split("/")[0]}) for place in places]
    assert sorted(labelled(index)) == sorted(wanted)
    assert index.class_names == ("0", "90", "180", "270")
