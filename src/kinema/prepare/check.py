"""`kinema prepare check`: decode every video of a dataset to its end, to find bad ones before training."""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TextIO

from kinema.console import progress
from kinema.data.kinds import KINDS
from kinema.data.lists.annotations import read_index
from kinema.data.lists.class_folders import FILE_SUFFIXES
from kinema.data.lists.index import Index, index_paths
from kinema.data.patience import patiently
from kinema.data.readers.segment_reader import check_within, duration
from kinema.data.readers.sources import Opener, open_video
from kinema.errors import MediaError
from kinema.prepare.clean_list import check_clean, write_clean_list
from kinema.prepare.decoding import count_frames
from kinema.prepare.frames import read_all
from kinema.prepare.options import CheckOptions
from kinema.prepare.sources import find_videos, source_is_folder
from kinema.prepare.work.interrupts import soon_interrupted
from kinema.prepare.work.jobs import name_in_report
from kinema.prepare.work.parallel import in_parallel
from kinema.storage import Direct, absolute, check_no_pipe, suffix, unfinished, write_csv

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """Result of one video; all fields are text, as in the report."""

    row: str
    """Index of the video in the dataset, from 0."""
    path: str
    """See `name_in_report`."""
    frames: str
    """Number of decoded frames; empty if the video is bad."""
    seconds: str
    """When it ends, if segments need to know; empty otherwise."""
    reason: str
    """Why the video is bad; empty if it is not."""


@dataclass(frozen=True, kw_only=True)
class CheckSummary:
    """Result of `prepare_check`."""

    videos: int
    """Number of checked videos, or segments."""
    bad: int
    """Number of videos that cannot be decoded to their end, or of segments of such or beyond the end of theirs."""
    miscounted: int
    """Number of videos whose number of frames differs from the list."""

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 0 if nothing is wrong, otherwise 1."""
        return 1 if self.bad or self.miscounted else 0


def prepare_check(options: CheckOptions) -> CheckSummary:
    """Decode every video of a dataset to its end, and compare its number of frames with the list.

    Faults are written to the CSV file `report` with the columns path, what, found, expected: `what` is `bad` (`found`
    gives the reason) or `frames`. After an interruption another call continues, from results in a hidden file beside
    the report. Relative paths in the clean list stay relative to the same folder.

    Raises:
        UserError: The dataset is missing, has no videos of this kind, or its list is invalid; or an option is out of
            range.
        StorageOutage: A server does not answer.
    """
    report, clean = options.report, options.clean
    index = _index(str(options.dataset), options)
    if clean is not None:
        check_clean(index, clean)
    paths = [absolute(path) for path in index.paths()]
    rows = [*enumerate(paths)]
    if index.segments is not None:  # each video once
        first: dict[str, int] = {}
        for row, path in rows:
            first.setdefault(path, row)
        rows = [(row, path) for path, row in first.items()]
    timed = index.segments is not None and index.segments.is_floating_point()
    report.parent.mkdir(parents=True, exist_ok=True)
    partial_report = unfinished(report)
    results = _read(partial_report, rows)
    missing = [row for row in rows if row[0] not in results]
    with (
        soon_interrupted(lambda: None),
        partial_report.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        for checked in _check_all(missing, options, done=len(results), timed=timed):
            results[int(checked.row)] = checked
            _append(file, checked)
    if index.segments is not None:
        results = _by_segment(index, paths, results)
    frames = {i: int(checked.frames) for i, checked in results.items() if not checked.reason}
    wrong = [i for i in frames if index.num_frames(i) not in (0, frames[i])]
    bad = [i for i in results if i not in frames]
    _write_report(report, index, [results[i] for i in sorted(bad + wrong)])
    if clean is not None:
        write_clean_list(index, KINDS[options.kind], clean, frames=frames, fix_counts=options.fix_counts)
    partial_report.unlink()
    what = "videos" if index.segments is None else "segments"
    log.info(
        "%d %s checked: %d bad, %d with another number of frames than listed", len(index), what, len(bad), len(wrong)
    )
    if bad or wrong:
        log.error("for the list of these see %s", report)
    return CheckSummary(videos=len(index), bad=len(bad), miscounted=len(wrong))


def _index(source: str, options: CheckOptions) -> Index:
    """Index of the videos to check; without labels if they are not in class folders."""
    kind, location = KINDS[options.kind], absolute(source)
    if source_is_folder(source):
        videos = find_videos(location, kind, option="--kind")
        above = len(location.rstrip("/") + "/")
        if all("/" in video[above:] for video in videos):
            return patiently(lambda: read_index(location, kind=kind, option="--kind"))
    elif suffix(source) in FILE_SUFFIXES.get(kind, ()):
        videos = [location]
    else:
        return patiently(lambda: read_index(source, kind=kind, root=options.root, labels=options.labels))
    return index_paths(videos, source=source, root=source)


def _by_segment(index: Index, paths: Sequence[str], results: Mapping[int, Checked]) -> dict[int, Checked]:
    """Return the result of every segment from those of the videos."""
    of_video = {checked.path: checked for checked in results.values()}
    return {row: _check_segment(index, row, of_video[name_in_report(path)]) for row, path in enumerate(paths)}


def _check_segment(index: Index, row: int, video: Checked) -> Checked:
    """Return the result of a segment: that of its video, or bad if it is not within the video."""
    segment, reason = index.segment(row), video.reason
    assert segment is not None
    if not reason:
        try:
            check_within(segment, float(video.seconds or video.frames), path=video.path)
        except MediaError as fault:
            reason = f"{fault.reason} ({index.source}:{index.lines[row]})"
    frames = "" if reason else video.frames
    return Checked(row=str(row), path=video.path + segment.fragment, frames=frames, seconds="", reason=reason)


def check_video(options: CheckOptions, timed: bool, row: tuple[int, str]) -> Checked:
    """Decode the video of a row, its index and path, to its end; `timed`: also return when it ends."""
    number, path = row
    checked = Checked(row=str(number), path=name_in_report(path), frames="", seconds="", reason="")
    try:
        check_no_pipe(path)
        frames, seconds = patiently(lambda: _decode(path, options, timed=timed))
    except MediaError as error:
        return replace(checked, reason=error.reason)
    return replace(checked, frames=str(frames), seconds=seconds)


def _crashed(row: tuple[int, str]) -> Checked:
    name = name_in_report(row[1])
    return Checked(row=str(row[0]), path=name, frames="", seconds="", reason="it crashes the decoder")


def _decode(path: str, options: CheckOptions, *, timed: bool) -> tuple[int, str]:
    """Return the number of frames of a video and, if asked for, when it ends."""
    opener = Opener(source=options.kind, storage=Direct(), template=options.template, first=options.first)
    if options.kind == "video":
        file = opener.file(path)  # once, as it may be at a URL
        frames = count_frames(file, path=path)
        return frames, f"{duration(open_video(file, path=path)):.6f}" if timed else ""
    reader = opener.open(path)
    sizes = {tuple(frames.shape[1:3]) for frames in read_all(reader, 0)}
    if len(sizes) > 1:
        raise MediaError(path, "its frames differ in size")
    return len(reader), f"{duration(reader):.6f}" if timed else ""


def _check_all(rows: Sequence[tuple[int, str]], options: CheckOptions, *, done: int, timed: bool) -> Iterator[Checked]:
    work = partial(check_video, options, timed)
    results = in_parallel(work, rows, workers=options.workers, cluster=options.cluster, on_crash=_crashed)
    bad = 0
    with progress("Checking videos", done + len(rows), done=done) as meter, closing(results):
        for checked in results:
            bad += bool(checked.reason)
            if checked.reason:
                log.warning("%s: %s", checked.path, checked.reason)
            meter.advance(figures=f"{bad} bad" if bad else "")
            yield checked


_COLUMNS = [field.name for field in fields(Checked)]


def _read(partial_report: Path, rows: Sequence[tuple[int, str]]) -> dict[int, Checked]:
    """Read the results of an interrupted call for the same rows, without a truncated last line."""
    if not partial_report.exists():
        return {}
    with partial_report.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        complete = [line for line in csv.reader(file) if len(line) == len(_COLUMNS) + 1 and line[-1] == "."]
    results = [Checked(*line[:-1]) for line in complete]
    names = {row: name_in_report(path) for row, path in rows}
    return {int(checked.row): checked for checked in results if names.get(int(checked.row)) == checked.path}


def _append(file: TextIO, checked: Checked) -> None:
    csv.writer(file).writerow([*astuple(checked), "."])
    file.flush()


def _write_report(report: Path, index: Index, wrong: Sequence[Checked]) -> None:
    rows: list[tuple[object, ...]] = [("path", "what", "found", "expected")]
    for checked in wrong:
        fault = ("bad", checked.reason) if checked.reason else ("frames", checked.frames)
        rows.append((checked.path, *fault, index.num_frames(int(checked.row)) or ""))
    write_csv(report, rows)
