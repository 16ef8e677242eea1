"""Every video of a dataset decoded to its end, before a training meets the bad ones."""

import csv
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TextIO

from kinema.console import progress
from kinema.data.lists.annotations import read_index
from kinema.data.lists.class_folders import FILE_SUFFIXES
from kinema.data.lists.index import Index, Labels, index_paths
from kinema.data.readers.sources import KINDS, Opener, Source
from kinema.errors import MediaError, UserError
from kinema.prepare.clean_list import check_clean, write_clean_list
from kinema.prepare.decoding import count_frames
from kinema.prepare.frames import read_all
from kinema.prepare.sources import find_videos
from kinema.prepare.work.interrupts import soon_interrupted
from kinema.prepare.work.parallel import in_parallel
from kinema.storage import Direct, check_no_pipe, replacing, unfinished

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """What is checked, and against what."""

    kind: Source = "video"
    """Videos are files, folders of images (rawframes) or of pairs of flow images, or packed files of these."""
    root: str = ""
    """Where the paths of a list start; empty: the list's own folder."""
    labels: Labels = "single"
    """Each video of a list has one label, or any number of them (multi: `path label label …`)."""
    template: str = "auto"
    """Names of images, such as img_{:05}.jpg or flow_{axis}_{:05}.jpg; auto: all images of a folder."""
    first: int = 1
    """Number of the first frame in its name, for a template."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found of one video; all fields are text, as they stand in the report."""

    row: str
    """Its number in the dataset, from 0."""
    path: str
    found: str
    """How many frames could be decoded; empty if it is bad."""
    reason: str
    """Why it is bad; empty if it is not."""


@dataclass(frozen=True, kw_only=True)
class CheckSummary:
    """What `prepare_check` found."""

    videos: int
    bad: int
    """Videos that cannot be decoded to their end."""
    miscounted: int
    """Videos that have another number of frames than listed."""

    @property
    def exit_code(self) -> int:
        """What the command ends with: 0 if all is well, otherwise 1."""
        return 1 if self.bad or self.miscounted else 0


def prepare_check(
    source: Path,
    options: CheckOptions,
    *,
    report: Path,
    clean: Path | None = None,
    fix_counts: bool = False,
    workers: int = 0,
    cluster: str = "",
) -> CheckSummary:
    """Decode every video of a dataset to its end, and compare its number of frames with the listed one.

    What is wrong goes into the CSV file `report`, `path,what,found,expected`, with `what` one of `bad` (then `found`
    says why) and `frames`. Interrupted, it goes on where it was: until all is done, results gather in a hidden file
    beside it.

    Args:
        source: A folder of class folders, or a list or table, see `read_index`; or any other folder of videos, at any
            depth, or one video.
        options: What is checked.
        report: Where to write what is wrong.
        clean: Where to write a list without the bad videos, in the format of `source`; for a folder a .csv. Relative
            paths in it start where they did.
        fix_counts: Keep videos with another number of frames than listed, with the right number.
        workers: Processes; 0: one a core, of this machine or of the cluster.
        cluster: Address of a Ray cluster to work on, see `on_cluster`; empty: this machine.

    Raises:
        UserError: the dataset is missing or holds no videos of this kind, or its list is faulty; or an option is out
            of range.
    """
    if workers < 0:
        raise UserError(f"--workers: found {workers}, must be at least 0 (one a core)")
    index = _index(source, options)
    if clean is not None:
        check_clean(source, clean, index)
    # The path of a row may hold no root: other machines need all of it.
    rows = [(i, str(Path(index.path(i)).absolute())) for i in range(len(index))]
    report.parent.mkdir(parents=True, exist_ok=True)
    partial_report = unfinished(report)
    results = _read(partial_report, rows)
    missing = [row for row in rows if row[0] not in results]
    with (
        soon_interrupted(lambda: None),
        partial_report.open("a", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        for one in _check_all(missing, options, workers, cluster, done=len(results)):
            results[int(one.row)] = one
            _append(file, one)
    frames = {i: int(one.found) for i, one in results.items() if not one.reason}
    wrong = [i for i in frames if index.num_frames(i) not in (0, frames[i])]
    bad = [i for i in results if i not in frames]
    _write_report(report, index, [results[i] for i in sorted(bad + wrong)])
    if clean is not None:
        write_clean_list(source, index, KINDS[options.kind], clean, frames=frames, fix_counts=fix_counts)
    partial_report.unlink()
    log.info(
        "%d videos checked: %d bad, %d with another number of frames than listed", len(index), len(bad), len(wrong)
    )
    if bad or wrong:
        log.error("%s says which", report)
    return CheckSummary(videos=len(index), bad=len(bad), miscounted=len(wrong))


def _index(source: Path, options: CheckOptions) -> Index:
    """The videos to check; without labels where they do not lie in class folders."""
    kind = KINDS[options.kind]
    if not source.exists():
        raise UserError(f"no file or folder '{source}'")
    if source.is_dir():
        videos = find_videos(source, kind, option="--kind")
        if all(len(video.relative_to(source).parts) > 1 for video in videos):
            return read_index(source, kind=kind, option="--kind")
    elif source.suffix.lower() in FILE_SUFFIXES.get(kind, ()):
        videos = [source]
    else:
        return read_index(source, kind=kind, root=options.root, labels=options.labels)
    return index_paths([str(video.absolute()) for video in videos], source=str(source), root=str(source))


def check_video(options: CheckOptions, row: tuple[int, str]) -> Checked:
    """Decode one video, number and path, to its end."""
    number, path = row
    try:
        check_no_pipe(path)
        frames = count_frames(path) if options.kind == "video" else _count_images(path, options)
    except MediaError as error:
        return Checked(row=str(number), path=path, found="", reason=error.reason)
    return Checked(row=str(number), path=path, found=str(frames), reason="")


def _crashed(row: tuple[int, str]) -> Checked:
    return Checked(row=str(row[0]), path=row[1], found="", reason="it kills the process that decodes it")


def _count_images(folder: str, options: CheckOptions) -> int:
    opener = Opener(source=options.kind, storage=Direct(), template=options.template, first=options.first)
    reader = opener.open(folder)
    sizes = {tuple(frames.shape[1:3]) for frames in read_all(reader, 0)}
    if len(sizes) > 1:
        raise MediaError(folder, "its frames differ in size")
    return len(reader)


def _check_all(
    rows: Sequence[tuple[int, str]], options: CheckOptions, workers: int, cluster: str, *, done: int
) -> Iterator[Checked]:
    results = in_parallel(partial(check_video, options), rows, workers=workers, cluster=cluster, on_crash=_crashed)
    bad = 0
    with progress("Checking videos", done + len(rows), done=done) as meter, closing(results):
        for one in results:
            bad += bool(one.reason)
            if one.reason:
                log.warning("%s: %s", one.path, one.reason)
            meter.advance(figures=f"{bad} bad" if bad else "")
            yield one


_COLUMNS = [field.name for field in fields(Checked)]


def _read(partial_report: Path, rows: Sequence[tuple[int, str]]) -> dict[int, Checked]:
    """What an interrupted call found of the same rows; a last line that it could not finish is left out."""
    if not partial_report.exists():
        return {}
    with partial_report.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        whole = [line for line in csv.reader(file) if len(line) == len(_COLUMNS) + 1 and line[-1] == "."]
    known = [Checked(**dict(zip(_COLUMNS, line, strict=False))) for line in whole]
    paths = dict(rows)
    return {int(one.row): one for one in known if paths.get(int(one.row)) == one.path}


def _append(file: TextIO, one: Checked) -> None:
    csv.writer(file).writerow([*(getattr(one, name) for name in _COLUMNS), "."])
    file.flush()


def _write_report(report: Path, index: Index, wrong: Sequence[Checked]) -> None:
    with (
        replacing(report) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["path", "what", "found", "expected"])
        for one in wrong:
            expected = index.num_frames(int(one.row)) or ""
            writer.writerow([one.path, *(("bad", one.reason) if one.reason else ("frames", one.found)), expected])
