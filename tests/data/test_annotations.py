"""Annotation files: formats, class names, selections, and every fault a user can make."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from kinema.data.lists.annotations import check_labels, read_index
from kinema.data.lists.class_names import read_class_names
from kinema.data.lists.index import Index
from kinema.errors import UserError


class Row(NamedTuple):
    path: str
    frames: int
    label: int
    line: int


def rows_of(index: Index) -> list[Row]:
    return [Row(index.path(i), index.num_frames(i), index.label(i), int(index.lines[i])) for i in range(len(index))]


def labelled(index: Index) -> list[tuple[str, int]]:
    return [(row.path, row.label) for row in rows_of(index)]


def write(folder: Path, text: str | bytes, name: str = "list.txt") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def fault(path: str | Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read_index(path, **({"kind": "video"} | options))
    return str(caught.value)


def lines_named(message: str, path: Path) -> list[int]:
    """Line numbers that a message names, as `file:line:`."""
    return [int(number) for number in re.findall(rf"^{re.escape(str(path))}:(\d+):", message, re.MULTILINE)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "a b.mp4 0\nc.mp4 1\n"),
        ("list.list", "a b.mp4\t0\nc.mp4\t1\n"),
        ("slowfast.csv", "a b.mp4 0\nc.mp4 1\n"),
        ("slowfast.csv", "a b.mp4,0\nc.mp4,1\n"),
        ("bare.tsv", "a b.mp4\t0\nc.mp4\t1\n"),
        ("table.csv", "path,label\na b.mp4,0\nc.mp4,1\n"),
        ("table.CSV", "Label, Path\n0, a b.mp4\n1, c.mp4\n"),
        ("table.csv", "\n path;label;group\na b.mp4;0;x\nc.mp4;1;y\n"),
        ("table.tsv", "label\tgroup\tpath\r\n0\tx\ta b.mp4\r\n1\ty\tc.mp4\r\n"),
        ("mac.csv", "path,label\ra b.mp4,0\rc.mp4,1\r"),
        ("mac.txt", "a b.mp4 0\rc.mp4 1"),
        ("mixed.csv", "path,label\r\na b.mp4,0\rc.mp4,1\n"),
        ("table.txt", "path, label\na b.mp4, 0\nc.mp4, 1\n"),
        ("table.txt", "label\tpath\n0\ta b.mp4\n1\tc.mp4\n"),
        ("list.txt", "a b.mp4, 0\nc.mp4, 1\n"),
        ("list.txt", "a b.mp4;0\nc.mp4;1\n"),
        ("list.csv", '"a b.mp4", 0\nc.mp4,"1"\n'),
    ],
)
def test_formats(tmp_path: Path, name: str, text: str) -> None:
    index = read_index(write(tmp_path, text, name), kind="video")
    assert labelled(index) == [(f"{tmp_path}/a b.mp4", 0), (f"{tmp_path}/c.mp4", 1)]
    assert index.class_names is None


@pytest.mark.parametrize(
    ("name", "text", "counts"),
    [
        ("list.txt", "some folder 12 0\nb 7 1\n", [12, 7]),
        ("list.csv", "some folder,12,0\nb,7,1\n", [12, 7]),
        ("list.txt", "some folder, 12, 0\nb, 7, 1\n", [12, 7]),
        ("table.csv", "path,frames,label\nsome folder,12,0\nb,7,1\n", [12, 7]),
        ("table.csv", "label,num_frames,path\n0,12,some folder\n1,7,b\n", [12, 7]),
        ("table.csv", "path,label\nsome folder,0\nb,1\n", [0, 0]),
    ],
)
def test_rawframes(tmp_path: Path, name: str, text: str, counts: list[int]) -> None:
    index = read_index(write(tmp_path, text, name), kind="rawframes", root="/r")
    assert [row[:3] for row in rows_of(index)] == [("/r/some folder", counts[0], 0), ("/r/b", counts[1], 1)]


def test_frame_counts_are_nothing_to_videos(tmp_path: Path) -> None:
    index = read_index(write(tmp_path, "path,frames,label\na.mp4,unknown,0\n", "t.csv"), kind="video")
    assert index.num_frames(0) == 0


def test_root_replaces_the_files_folder_except_for_absolute_paths(tmp_path: Path) -> None:
    path = write(tmp_path, "a.mp4 0\n/abs/b.mp4 1\ns3://bucket/c.mp4 2\n")
    assert [row.path for row in rows_of(read_index(path, kind="video", root="gs://b/k/"))] == [
        "gs://b/k/a.mp4", "/abs/b.mp4", "s3://bucket/c.mp4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", "abcd"),
        ("fold=0", "ab"),
        ("fold!=0", "cd"),
        ("fold != 0, group=x", "c"),
        ("group=", "d"),
        ("Fold!=1,label!=0", "bd"),
    ],
)
def test_where(tmp_path: Path, where: str, expected: str) -> None:
    path = write(tmp_path, "path,label,fold,group\na,0,0,x\nb,1,0,y\nc,0,1,x\nd,1,2,\n", "t.csv")
    assert "".join(row.path[-1] for row in rows_of(read_index(path, kind="video", where=where))) == expected


@pytest.mark.parametrize(
    "condition", ["fold!=9 & x", "fold!=1|2", "fold!=2 and group!x", "fold!='1'", "group!=(a)", "fold=1 or 2"]
)
def test_conditions_of_other_languages_are_refused(tmp_path: Path, condition: str) -> None:
    path = write(tmp_path, "path,label,fold,group\na,0,0,x & y\nb,1,1,z\n", "t.csv")
    assert f"'{condition}'" in fault(path, where=condition)
    assert read_index(path, kind="video", where="group!=x & y").path(0).endswith("b")


def test_a_condition_that_leaves_nothing_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "path,label,fold\na,0,0\nb,1,1\n", "t.csv")
    read_index(path, kind="video", where="fold!=0")
    assert not caplog.messages
    read_index(path, kind="video", where="fold!=O")
    assert "'fold!=O' leaves no row" in caplog.text


@pytest.mark.parametrize(
    "label", ["1;3", "1 3", '"1,3"', '"[1, 3]"', "[1]", "1|3", "sit;stand", "\"['sit', 'stand']\""]
)
@pytest.mark.parametrize("first", ["0", "run"])
def test_several_labels_where_one_is_expected(tmp_path: Path, label: str, first: str) -> None:
    path = write(tmp_path, f"path,label\na.mp4,{first}\nb.mp4,{label}\n", "t.csv")
    message = fault(path)
    assert lines_named(message, path) == [3]
    assert "--task.labels multi" in message or (first, label[0]) == ("0", "s")


@pytest.mark.parametrize("between", [", ", "|", " + ", "/"])
def test_several_names_that_also_stand_alone(tmp_path: Path, between: str) -> None:
    rows = ["a.mp4,sit", "b.mp4,stand", f'c.mp4,"sit{between}stand"', f'd.mp4,"sit{between}lie"']
    message = fault(write(tmp_path, "\n".join(["path,label", *rows, "e.mp4,run"]), "t.csv"))
    assert f"t.csv:4: label 'sit{between}stand'" in message
    assert "lie" not in message


def test_a_class_may_be_called_like_several_labels(tmp_path: Path) -> None:
    named = write(tmp_path, 'path,class\na.mp4,run;walk\nb.mp4,"1,3"\n', "t.csv")
    assert read_index(named, kind="video").class_names == ("1,3", "run;walk")
    known = write(tmp_path, "path,label\na.mp4,run;walk\nb.mp4,sit\n", "t.csv")
    assert read_index(known, kind="video", classes=["sit", "run;walk"]).labels.tolist() == [1, 0]


def test_numbers_in_a_column_of_classes_are_names(tmp_path: Path) -> None:
    path = write(tmp_path, "path,class\na,90\nb,0\nc,270\n", "t.csv")
    index = read_index(path, kind="video")
    assert (index.class_names, index.labels.tolist()) == (("0", "90", "270"), [1, 0, 2])
    several = read_index(write(tmp_path, "path,classes\na,90;0\nb,\n", "t.csv"), kind="video")
    assert (several.class_names, several.label_set(0), several.label_set(1)) == (("0", "90"), (1, 0), ())


def test_indices_of_classes_that_are_called_by_numbers(tmp_path: Path) -> None:
    classes = ["0", "180", "270", "90"]
    listed = write(tmp_path, "a 0\nb 3\nc 1\n")
    assert read_index(listed, kind="video", classes=classes).labels.tolist() == [0, 3, 1]
    named = write(tmp_path, "a 0\nb 90\nc 180\n")
    assert read_index(named, kind="video", classes=classes).labels.tolist() == [0, 3, 1]
    assert "label '3' is not a known class" in fault(write(tmp_path, "a 0\nb 90\nc 3\n"), classes=classes)


def test_names_of_a_table_are_in_natural_order_and_validation_follows_training(tmp_path: Path) -> None:
    train = read_index(write(tmp_path, "path,label\na,kick 10\nb,kick 2\nc,run\n", "train.csv"), kind="video")
    assert train.class_names == ("kick 2", "kick 10", "run")
    assert train.labels.tolist() == [1, 0, 2]
    val = read_index(write(tmp_path, "path,label\na,run\n", "val.csv"), kind="video", classes=train.class_names)
    assert (val.label(0), val.class_names) == (2, train.class_names)
    listed = read_index(write(tmp_path, "a run\nb run\n"), kind="video", classes=train.class_names)
    assert listed.labels.tolist() == [2, 2]


def test_integers_stay_integers_beside_given_names(tmp_path: Path) -> None:
    index = read_index(write(tmp_path, "a 1\nb 0\n"), kind="video", classes=["run", "walk"])
    assert (index.labels.tolist(), index.class_names) == ([1, 0], ("run", "walk"))


def test_classes_named_by_numbers_are_names(tmp_path: Path) -> None:
    path = write(tmp_path, "path,label\na,10\nb,2\n", "t.csv")
    assert read_index(path, kind="video", classes=["2", "10"]).labels.tolist() == [1, 0]


def test_many_names_of_equal_and_other_lengths(tmp_path: Path) -> None:
    labels = [f"class {i * 7919 % 1000}" for i in range(3000)]
    path = write(tmp_path, "path,label\n" + "".join(f"{i}.mp4,{label}\n" for i, label in enumerate(labels)), "t.csv")
    index = read_index(path, kind="video")
    assert index.class_names == tuple(f"class {i}" for i in range(1000))
    assert [index.class_names[label] for label in index.labels.tolist()] == labels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run\nwalk fast\n\n", ("run", "walk fast")),
        ("\ufeffrun\r\nwalk fast\r\n", ("run", "walk fast")),
        ("1 ApplyEyeMakeup\n2 ApplyLipstick\n", ("ApplyEyeMakeup", "ApplyLipstick")),
        ("0\trun\n1\twalk fast\n", ("run", "walk fast")),
        ("2 hands\n1 hand\n", ("2 hands", "1 hand")),
        ("1\n2\n", ("1", "2")),
        ("run\rwalk fast\r", ("run", "walk fast")),
        ("id,name\n1,walk fast\n0,run\n", ("run", "walk fast")),
        ("1,walk fast\n0,run\n", ("run", "walk fast")),
        ("name;id\nrun;1\nwalk, fast;2\n", ("run", "walk, fast")),
        ('name,id\n"walk, fast",1\nrun,0\n', ("run", "walk, fast")),
        ("walk\t1\nrun\t0\n", ("run", "walk")),
        ('{"walk fast": 1, "run": 0}', ("run", "walk fast")),
        ('{"walk": "2", "run": "1"}', ("run", "walk")),
        ('{"1": "walk", "0": "run"}', ("run", "walk")),
        ('\n["run", "walk"]', ("run", "walk")),
        ("[Something] falls\nrun, walk\n", ("[Something] falls", "run, walk")),
    ],
)
def test_class_name_files(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    assert read_class_names(write(tmp_path, text)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("run\nwalk\nrun\n", ":3: duplicate class 'run', also on line 1"),
        ("\n{\n'run': 0}", "list.txt:2: not JSON"),
        ('{"run": 0, "walk": 2}', "class 'walk' has id 2 instead of 1"),
        ('{"run": 0, "walk": 0}', "class 'walk' has id 0 instead of 1"),
        ('{"classes": ["run", "walk"]}', "JSON that does not name classes"),
        ('{"run": true}', "JSON that does not name classes"),
        ('["run", "walk", "run"]', "class 'run' occurs 2 times"),
        ("0,run\n2,walk\n", "class 'walk' has id 2 instead of 1"),
        ("id,name\n0,run\n1,\n", "empty name"),
    ],
)
def test_faulty_class_name_files(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_class_names(write(tmp_path, text))


def test_missing_file_offers_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, "a 1", "train.txt")
    assert "did you mean 'train.txt'?" in fault(tmp_path / "trian.txt")
    assert "no file or folder" in fault(tmp_path / "no" / "train.txt")


RAWFRAMES = {"kind": "rawframes"}
CLASSES = {"classes": ["run", "walk"]}
FOLDS = "path,label,fold\na,0,1\n"


@pytest.mark.parametrize(
    ("name", "text", "options", "said"),
    [
        ("l.txt", "", {}, "'{}' is empty"),
        ("l.txt", "\n \r\n\t", {}, "'{}' is empty"),
        ("t.csv", "path,label\n\n", {}, "'{}' has no rows below its header"),
        ("t.csv", 'path,label\n""\n', {}, "'{}' has no rows below its header"),
        ("l.txt", "a.mp4 1\nb.mp4\n", {}, "{}:2: no label: 'b.mp4'\nexpected 'path label'"),
        ("l.txt", "a.mp4 1\nmy clip.mp4\n", {}, "{}:2: the label is not a whole number: 'my clip.mp4'"),
        ("l.txt", "a 3 1\nb 1\n", RAWFRAMES, "{}:2: no number of frames, or no label: 'b 1'\nexpected 'folder"),
        ("l.txt", "a x 1\n", RAWFRAMES, "{}:1: the number of frames is not a whole number: 'a x 1'"),
        ("l.txt", "a -3 1\n", RAWFRAMES, "{}:1: the number of frames is not a whole number: 'a -3 1'"),
        ("l.txt", "a run\n", {}, "names of classes need a header line path,label"),
        ("l.txt", "x" * 300, {}, f"'{'x' * 40}…{'x' * 40}'"),
        ("l.txt", b"a 1\nb\xe9 1\n", {}, "{}:2: byte 0xe9 is not UTF-8"),
        ("l.txt", "a 1\n".encode("utf-16"), {}, "{}:1: byte 0xff is not UTF-8"),
        ("l.txt", "a 1\nb 2\n".encode("utf-16-le"), {}, "{}:1: byte 0x00 is not UTF-8"),
        ("t.csv", "path,label\na,0\nb,1,2\nc\n", {}, "{}:3: not one field for each column: 'b,1,2'\n{}:4:"),
        ("t.csv", "path,label\n,0\n", {}, "{}:2: no path: ',0'"),
        ("t.csv", "path,label\na,run\nb,\n", {}, "{}:3: no label: 'b,'"),
        ("t.csv", "path,label\na,0\nb,run\n", {}, "{}:3: the label is not a whole number: 'b,run'"),
        ("t.csv", 'path,label\n"a,b",0\n"c,d",run\n', {}, "{}:3: the label is not a whole number: 'c,d,run'"),
        ("t.csv", 'path,label\na,0\n"b,1\nc,2\n', {}, "{}:3: unexpected end"),
        (
            "t.csv",
            "paths,label\na,0\n",
            {},
            "'{}' has no column 'path'; did you mean 'paths'? (its columns: paths, label)",
        ),
        ("t.csv", FOLDS, {"where": "flod=0"}, "no column 'flod'; did you mean 'fold'?"),
        ("t.csv", FOLDS, {"where": "fold==0"}, "'fold==0' is not a condition"),
        ("t.csv", FOLDS, {"where": "fold>0"}, "'fold>0' is not a condition"),
        ("t.csv", FOLDS, {"where": "fold=7"}, "has no rows with fold=7"),
        ("l.txt", "\npath label\na.mp4 0\n", {}, "{}:2: column names with blanks between them, 'path label'"),
        ("t.csv", "path label\na.mp4 0\n", {}, "{}:1: column names with blanks between them, 'path label'"),
        ("t.csv", "video,class\na.mp4,run\n", {}, "'{}' has no column 'path'"),
        ("l.txt", "a 0\n", {"where": "fold=7"}, "'{}' has no header line"),
        (
            "t.csv",
            "path,label\na,walk\nb,runn\n",
            CLASSES,
            "{}:3: label 'runn' is not a known class; did you mean 'run'?",
        ),
        ("l.txt", "a 1\nb 2\n", CLASSES, "{}:2: label 2 of '/r/b'\nexpected labels 0 to 1"),
        ("l.txt", "a 1\nb -1\n", CLASSES, "{}:2: label -1 of '/r/b'\nexpected labels 0 to 1"),
    ],
)
def test_faulty_files(tmp_path: Path, name: str, text: str | bytes, options: dict[str, object], said: str) -> None:
    path = write(tmp_path, text, name)
    assert said.replace("{}", str(path)) in fault(path, root="/r", **options)


def test_labels_out_of_range_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "".join(f"v{i}.mp4 {i % 10}\n\n" for i in range(50)))
    index = read_index(path, kind="video")
    check_labels(index, 10)
    with pytest.raises(UserError) as caught:
        check_labels(index, 8)
    assert lines_named(str(caught.value), path) == [17, 19, 37]
    assert "10 in all" in str(caught.value)
    assert "labels 0 to 7" in str(caught.value)


def test_tennis_folds(shared: Path) -> None:
    path = shared / "data/tennis7_256p/groups.csv"
    train = read_index(path, kind="video", where="fold!=0")
    val = read_index(path, kind="video", where="fold=0", classes=train.class_names)
    assert (len(train), len(val)) == (296, 75)
    assert train.class_names == val.class_names == (
        "b_slice", "b_volley", "backhand", "f_volley", "forehand", "serve", "smash",
    )  # fmt: skip
    for row in rows_of(train) + rows_of(val):
        assert Path(row.path).is_file()
        assert Path(row.path).parent.name == train.class_names[row.label]
    assert not {row.path for row in rows_of(train)} & {row.path for row in rows_of(val)}
