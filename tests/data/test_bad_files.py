"""The account of bad files."""

import csv
from pathlib import Path

import pytest

from kinema.data.bad_files import BadFiles
from kinema.data.samples import BadFile
from kinema.errors import UserError


@pytest.mark.parametrize(
    ("num_videos", "fraction", "allowed"),
    [(1000, 0.01, 10), (1001, 0.01, 11), (50, 0.01, 1), (50, 0.0, 0), (4, 1.0, 4)],
)
def test_the_limit_is_the_fraction_rounded_up(num_videos: int, fraction: float, allowed: int) -> None:
    files = BadFiles(num_videos=num_videos, max_fraction=fraction)
    for k in range(allowed):
        files.add([BadFile(f"{k}.mp4", "truncated")])
        files.check()
    files.add([BadFile("one more.mp4", "truncated")])
    with pytest.raises(
        UserError, match=rf"{allowed + 1} of {num_videos} videos .*max-bad-fraction allows \({allowed}\)"
    ):
        files.check()


@pytest.mark.parametrize(
    ("reason", "end"),
    [
        ("No such file or directory", r"No such file or directory\. Is --data\.root right\?"),
        ("img_1.jpg is missing: is --data.template right?", r"is --data\.template right\?"),
        ("it is empty", r"it is empty\."),
    ],
)
def test_what_to_look_at_first(reason: str, end: str) -> None:
    files = BadFiles(num_videos=1, max_fraction=0)
    files.add([BadFile("a", reason)])
    with pytest.raises(UserError, match=f"{end}$"):
        files.check()


def test_a_file_is_logged_and_counted_once(caplog: pytest.LogCaptureFixture) -> None:
    files = BadFiles(num_videos=10, max_fraction=0.5)
    for _ in range(3):
        files.add([BadFile("a.mp4", "no video stream"), BadFile("a.mp4", "no video stream")])
    assert len(files) == 1
    assert [record.getMessage() for record in caplog.records] == ["bad file: a.mp4: no video stream"]


def test_what_an_earlier_run_listed_does_not_count(tmp_path: Path) -> None:
    listing = tmp_path / "bad_files.csv"
    BadFiles(num_videos=9, max_fraction=1, listing=listing).add(BadFile(f"{k}.mp4", "missing") for k in range(9))
    again = BadFiles(num_videos=9, max_fraction=0.1, listing=listing)
    again.check()
    again.add([BadFile("9.mp4", "missing")])
    again.check()
    assert len(listing.read_text().splitlines()) == 1 + 10


def test_the_listing_survives_a_resumed_run(tmp_path: Path) -> None:
    listing = tmp_path / "bad_files.csv"
    strange = "däch, \udcff\n.mp4"  # a file name that is not UTF-8, as the file system gives it
    BadFiles(num_videos=10, max_fraction=1, listing=listing).add([BadFile(strange, 'has "quotes"')])
    resumed = BadFiles(num_videos=10, max_fraction=1, listing=listing)
    resumed.add([BadFile(strange, 'has "quotes"'), BadFile("b.mp4", "empty")])
    with listing.open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"path": "b.mp4", "reason": "empty"}, {"path": strange, "reason": 'has "quotes"'}]
