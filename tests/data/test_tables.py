"""Lists and tables, against plain Python readers of the same text."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema.data.lists.annotations import read_index
from kinema.data.lists.index import Index
from kinema.errors import UserError


class Row(NamedTuple):
    path: str
    frames: int
    label: int
    line: int


def rows_of(index: Index) -> list[Row]:
    return [Row(index.path(i), index.num_frames(i), index.label(i), int(index.lines[i])) for i in range(len(index))]


def write(folder: Path, text: str | bytes, name: str = "list.txt") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def fault(path: Path, **options) -> str:
    with pytest.raises(UserError) as caught:
        read_index(path, **({"kind": "video"} | options))
    return str(caught.value)


def lines_named(message: str, path: Path) -> list[int]:
    """Line numbers that a message names, as `file:line:`."""
    return [int(number) for number in re.findall(rf"^{re.escape(str(path))}:(\d+):", message, re.MULTILINE)]


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lists")


@pytest.fixture(params=[1, 3, None], ids=["chunks of a row", "chunks of three rows", "one chunk"])
def chunks(request) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr("kinema.data.lists.rows._CHUNK", request.param)
        yield


def is_integer(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]{1,10}", text) is not None and abs(int(text)) < 2**31


def lines_of(text: str) -> list[str]:
    """Lines with any kind of end."""
    return re.split(r"\r\n|\r|\n", text)


def plain_list(text: str, kind: str) -> tuple[list[Row], list[int]]:
    """The rows of a list with integer labels, and the numbers of faulty lines."""
    rows, faulty = [], []
    for number, line in enumerate(lines_of(text), 1):
        content = line.strip(" \t\r")
        if not content:
            continue
        parts = re.split(r"[ \t\r]+", content)
        tail = parts[-2:] if kind == "rawframes" else ["0", *parts[-1:]]
        if len(parts) < (3 if kind == "rawframes" else 2) or not all(map(is_integer, tail)) or int(tail[0]) < 0:
            faulty.append(number)
            continue
        path = content
        for _ in range(2 if kind == "rawframes" else 1):
            path = re.sub(r"[ \t\r]+[^ \t\r]+$", "", path)
        rows.append(Row(f"/r/{path}", int(tail[0]), int(tail[1]), number))
    return rows, faulty


def plain_table(text: str) -> tuple[list[Row], list[int]]:
    """The same for a table of path, label and fold without quotes, of which the rows with fold!=1 are wanted."""
    rows, faulty = [], []
    for number, line in enumerate(lines_of(text)[1:], 2):
        fields = [field.strip(" \t\r") for field in line.split(",")]
        if fields == [""]:
            continue
        if len(fields) != 3:
            faulty.append(number)
        elif fields[2] != "1":
            if fields[0] and is_integer(fields[1]):
                rows.append(Row(f"/r/{fields[0]}", 0, int(fields[1]), number))
            else:
                faulty.append(number)
    return rows, faulty


def check_against(path: Path, rows: list[Row], faulty: list[int], **options) -> None:
    """Read `path` and expect these rows or, where there are faulty lines, a message about the first three."""
    if faulty:
        message = fault(path, **options)
        assert lines_named(message, path) == faulty[:3]
        assert (f"{len(faulty)} in all" in message) == (len(faulty) > 3)
    elif not rows:
        assert f"'{path}' is empty" in fault(path, **options)
    else:
        assert rows_of(read_index(path, root="/r", **options)) == rows


words = st.sampled_from(["a", "日本", "b c", "-1", "12", "007", "2147483648", "\t", "1.5"])
good_lines = st.builds(
    "{} {} {}{}".format,
    st.text("xy ü", min_size=1),
    st.integers(0, 300),
    st.integers(0, 9),
    st.sampled_from(["", "\r", "  "]),
)
messy_lines = st.lists(
    st.one_of(st.text(" \t\ra1é-", max_size=12), st.lists(words).map(" ".join), good_lines), max_size=12
)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("kind", ["video", "rawframes"])
@given(lines=messy_lines, end=st.sampled_from(["", "\n"]))
def test_lists_read_as_a_plain_loop_reads_them(scratch: Path, kind: str, lines: list[str], end: str) -> None:
    text = "\n".join(lines) + end
    path = write(scratch, text)
    rows, faulty = plain_list(text, kind)
    check_against(path, rows, faulty, kind=kind)


@pytest.mark.usefixtures("chunks")
@given(
    lines=st.lists(
        st.one_of(st.text(" \t\ra1é,", max_size=9), st.from_regex(r"[ab ]{1,5},[0-9]{1,3},[01]", fullmatch=True))
    )
)
def test_tables_read_as_a_plain_loop_reads_them(scratch: Path, lines: list[str]) -> None:
    text = "\n".join(["path,label,fold", "first.mp4,0,0", *lines])
    check_against(write(scratch, text, "t.csv"), *plain_table(text), kind="video", where="fold!=1")


names = (
    st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\v\f\ufeff"), min_size=1, max_size=30)
    .map(lambda name: name.strip(" \t"))
    .filter(lambda name: name and not name.startswith("/") and "://" not in name)
)


@pytest.mark.usefixtures("chunks")
@given(
    rows=st.lists(st.tuples(names, st.integers(0, 99_999), st.integers(0, 2**31 - 1)), min_size=1, max_size=20),
    separator=st.sampled_from([" ", "   ", "\t", " \t"]),
    line_end=st.sampled_from(["\n", "\r\n", " \n", "\n\n", "\r\n \r\n"]),
    bom=st.booleans(),
)
def test_written_lists_read_back(scratch: Path, rows, separator: str, line_end: str, bom: bool) -> None:
    text = line_end.join(f"{name}{separator}{frames}{separator}{label}" for name, frames, label in rows)
    path = write(scratch, text.encode("utf-8-sig" if bom else "utf-8"))
    read = rows_of(read_index(path, kind="rawframes", root="/r"))
    assert [(row.path, row.frames, row.label) for row in read] == [(f"/r/{n}", f, la) for n, f, la in rows]


fields = st.text(st.characters(codec="utf-8", exclude_characters=":\ufeff", exclude_categories=["Cc"]), max_size=9)
tables = st.lists(
    st.tuples(
        fields.map(lambda text: "v" + text.strip() + ".mp4"),
        fields.map(lambda text: "class " + text.replace(";", "").strip() + "!"),
        st.integers(0, 2).map(str),
        st.one_of(fields, st.just('two\nlines "of" notes')),
    ),
    min_size=1,
    max_size=15,
)


@pytest.mark.usefixtures("chunks")
@given(rows=tables, quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), delimiter=st.sampled_from(",;\t"))
def test_tables_read_as_the_csv_module_reads_them(scratch: Path, rows, quoting, delimiter: str) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, delimiter=delimiter)
    writer.writerows([("path", "label", "Fold", "note"), *rows])
    path = write(scratch, text.getvalue(), "table.csv")
    reader = csv.DictReader(io.StringIO(text.getvalue(), newline=""), delimiter=delimiter)
    wanted = [(row["path"], row["label"]) for row in reader if row["Fold"] != "0"]
    if not wanted:
        assert "no rows with fold!=0" in fault(path, where="fold!=0")
        return
    index = read_index(path, kind="video", where="fold!=0", root="/r")
    assert index.class_names is not None
    assert set(index.class_names) == {label for _, label in wanted}
    assert [(row.path, index.class_names[row.label]) for row in rows_of(index)] == [
        (f"/r/{path}", label) for path, label in wanted
    ]


def test_line_numbers_survive_quoted_line_breaks(tmp_path: Path) -> None:
    path = write(tmp_path, 'path,note,label\na.mp4,"one\ntwo",0\n\nb.mp4,x,1\nc.mp4,x,one\n', "t.csv")
    assert lines_named(fault(path), path) == [6]


@given(st.text("0123456789-+_. x٣", max_size=12).map(lambda text: text.replace(" ", "")).filter(bool))
def test_integers_are_decimal_digits_within_int32(scratch: Path, label: str) -> None:
    path = write(scratch, f"a.mp4 {label}")
    if is_integer(label):
        assert read_index(path, kind="video").label(0) == int(label)
    else:
        assert "not a whole number" in fault(path)
