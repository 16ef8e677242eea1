"""Inspection of the data of a recognizer's training: what the model sees, classes, headers, near-duplicates."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kinema import strict_json
from kinema.console import progress
from kinema.data.dataset import ClipDataset, open_train_index, open_val_index, opener
from kinema.data.lists.index import Index
from kinema.data.lists.overlap import count_common
from kinema.data.options import ClipData
from kinema.data.readers.segment_reader import read_segment
from kinema.data.samples import SampleKey
from kinema.errors import MediaError
from kinema.prepare.work.parallel import in_parallel
from kinema.report.dataset.hashes import Hashes, near_duplicates, video_hash
from kinema.report.dataset.headers import Header, read_header, read_headers
from kinema.report.dataset.pictures import class_histogram, contact_sheet, distributions
from kinema.report.fonts import drawn_with, say_missing
from kinema.report.style import save_png
from kinema.storage import is_url, write_csv, write_text
from kinema.storage.outputs import cannot_write, check_writable
from kinema.tasks.recognition.settings import RecognitionConfig
from kinema.tasks.recognition.splits import videos_of_classes, warn_of_mirrors, with_flip_pairs

log = logging.getLogger(__name__)

Split = Literal["training", "validation"]

_FEW = 64  # videos up to which another process would take longer to start


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Near-duplicates: `one` and `other` are the videos' names, `leak` whether their splits differ."""

    one: str
    other: str
    one_split: Split
    other_split: Split
    mirrored: bool
    bits: int

    @property
    def leak(self) -> bool:
        """Whether one is a training and the other a validation video."""
        return self.one_split != self.other_split


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """Video that cannot be opened or hashed, and where it is listed; line 0: in a class folder."""

    split: Split
    path: str
    line: int
    reason: str


@dataclass(kw_only=True)
class Inspection:
    """Facts of a dataset.

    counts: Videos of each class by split. headers: By split. common: Validation videos that are training videos, by
    their paths. hashed: Videos compared. uniform: Those left out, as their frames are nearly uniform.
    """

    classes: tuple[str, ...]
    counts: dict[Split, NDArray[np.int64]]
    videos: dict[Split, int]
    headers: dict[Split, list[Header]] = field(default_factory=dict)
    common: int = 0
    hashed: int = 0
    uniform: int = 0
    duplicates: list[Duplicates] = field(default_factory=list)
    bad: list[BadRow] = field(default_factory=list)
    headers_per_second: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return all facts; durations in seconds."""
        return {
            "videos": self.videos,
            "classes": [
                {"class": name, **{split: int(counts[c]) for split, counts in self.counts.items()}}
                for c, name in enumerate(self.classes)
            ],
            "headers": {split: _summary(headers) for split, headers in self.headers.items()},
            "headers_per_second": self.headers_per_second,
            "common_paths": self.common,
            "hashed": self.hashed,
            "uniform": self.uniform,
            "duplicates": [{**asdict(pair), "leak": pair.leak} for pair in self.duplicates],
            "bad_rows": [asdict(row) for row in self.bad],
        }


def inspect_data(
    config: RecognitionConfig[Any],
    folder: Path,
    *,
    hashed: int | Literal["all"] = 2000,
    clips: int = 12,
    workers: int = 0,
    font: Path | None = None,
) -> Inspection:
    """Inspect the data that a training by `config` would read, and write pictures and tables to `folder`.

    These are `sheet.png` (random training clips as the model sees them, before it normalizes pixels), `classes.png`,
    `videos.png` (durations, sizes, frame rates), `inspection.json`, and `bad_rows.csv` and `duplicates.csv` if there
    are any.

    Args:
        config: Recipe with `data.train` and, optionally, `data.val`.
        folder: Output folder.
        hashed: Videos that are compared by perceptual hashes, validation videos first; "all", or 0 for none.
        clips: Clips of the contact sheet.
        workers: Processes; 0: one per core.
        font: Font file for class names that DejaVu Sans lacks glyphs for.

    Raises:
        UserError: The lists are faulty, or a file cannot be written.
        StorageOutage: The storage does not answer.
    """
    check_writable(folder / "inspection.json")
    data, labels = config.data, config.task.labels
    indices: dict[Split, Index] = {"training": open_train_index(data, labels=labels)}
    names = indices["training"].class_names
    if data.val or data.divides:
        indices["validation"] = open_val_index(data, names, labels=labels)
    highest = max(int(index.labels.max()) for index in indices.values() if len(index.labels))
    classes = names or tuple(map(str, range(highest + 1)))
    result = Inspection(
        classes=classes,
        counts={split: videos_of_classes(index, len(classes)) for split, index in indices.items()},
        videos={split: len(index) for split, index in indices.items()},
    )
    warn_of_mirrors(with_flip_pairs(data.train_clip.crop, classes), classes)
    if "validation" in indices:
        result.common = count_common(indices["validation"], indices["training"])
    _read_all_headers(result, indices, data, workers=workers)
    if hashed:
        _find_duplicates(result, indices, data, most=hashed, workers=workers)
    sheet = _sheet(config, indices["training"], classes, count=clips, bad=result.bad) if clips else []
    _write(result, sheet, folder, config=config, font=font)
    return result


def _read_all_headers(result: Inspection, indices: Mapping[Split, Index], data: ClipData, *, workers: int) -> None:
    began, total = time.perf_counter(), sum(map(len, indices.values()))
    with progress("reading headers", total) as meter:
        for split, index in indices.items():
            headers = result.headers[split] = []
            for header in _headers(index, data, workers=workers):
                headers.append(header)
                if header.fault:
                    result.bad.append(_bad_row(split, index, header.row, header.fault))
                meter.advance()
    result.headers_per_second = total / (time.perf_counter() - began)


def _headers(index: Index, data: ClipData, *, workers: int) -> Iterator[Header]:
    """Yield the header of every row; of segments, those of their videos."""
    paths = list(index.paths())
    local = data.source == "video" and not any(map(is_url, paths[:1]))
    if local and len(paths) > _FEW:
        yield from read_headers(paths, workers=workers)
        return
    if local:
        yield from (read_header(row, path) for row, path in enumerate(paths))
        return
    opened = opener(data, paths[0])
    for row, path in enumerate(paths):
        try:
            video = opened.open(path, index.num_frames(row) or None)
            height, width = video.frames([0]).shape[1:3]
        except MediaError as error:
            yield Header(row=row, fault=error.reason)
            continue
        seconds = len(video) / video.fps if video.fps else None
        yield Header(row=row, seconds=seconds, width=width, height=height, fps=video.fps)


def _find_duplicates(
    result: Inspection, indices: Mapping[Split, Index], data: ClipData, *, most: int | Literal["all"], workers: int
) -> None:
    chosen = _chosen(indices, most)
    items = [(split, row, _Source(indices[split], row, data)) for split, row in chosen]
    count = 1 if len(items) <= _FEW else workers
    plain, mirrored, rows = list[Hashes](), list[Hashes](), list[tuple[Split, int]]()
    with progress("hashing frames", len(items)) as meter:
        for split, row, found in in_parallel(_hash, items, workers=count, on_crash=_hash_crashed):
            meter.advance()
            if isinstance(found, str):
                if not any(bad.split == split and bad.path == indices[split].name(row) for bad in result.bad):
                    result.bad.append(_bad_row(split, indices[split], row, found))
            elif found is None:
                result.uniform += 1
            else:
                rows.append((split, row))
                plain.append(found[0])
                mirrored.append(found[1])
    result.hashed = len(rows)
    if not rows:
        return
    with progress("comparing", len(rows)) as meter:
        for pair in near_duplicates(np.stack(plain), np.stack(mirrored), meter):
            (one_split, one), (other_split, other) = rows[pair.one], rows[pair.other]
            if indices[one_split].path(one) == indices[other_split].path(other):
                continue  # segments of one video, or a row listed twice: see `common`
            result.duplicates.append(
                Duplicates(
                    one=indices[one_split].name(one),
                    other=indices[other_split].name(other),
                    one_split=one_split,
                    other_split=other_split,
                    mirrored=pair.mirrored,
                    bits=pair.bits,
                )
            )
    result.duplicates.sort(key=lambda pair: (not pair.leak, pair.bits, pair.one, pair.other))


def _chosen(indices: Mapping[Split, Index], most: int | Literal["all"]) -> list[tuple[Split, int]]:
    """Return rows to hash: at most half of them for validation, evenly spaced."""
    if most == "all":
        return [(split, row) for split, index in indices.items() for row in range(len(index))]
    val = min(len(indices.get("validation", ())), max(most // 2, most - len(indices["training"])))
    sizes: dict[Split, int] = {"validation": val, "training": min(len(indices["training"]), most - val)}
    return [
        (split, int(row))
        for split, count in sizes.items()
        if count
        for row in np.linspace(0, len(indices[split]) - 1, count).round().astype(int)
    ]


class _Source:
    """A row's video, in a form that another process can open."""

    def __init__(self, index: Index, row: int, data: ClipData) -> None:
        self.path, self.segment, self.frames = index.path(row), index.segment(row), index.num_frames(row) or None
        self.data = data


_Hashed = tuple[Split, int, tuple[Hashes, Hashes] | str | None]


def _hash(item: tuple[Split, int, _Source]) -> _Hashed:
    split, row, source = item
    try:
        video = opener(source.data, source.path).open(source.path, source.frames)
        return split, row, video_hash(video if source.segment is None else read_segment(video, source.segment))
    except MediaError as error:
        return split, row, error.reason


def _hash_crashed(item: tuple[Split, int, _Source]) -> _Hashed:
    return item[0], item[1], "it crashes the decoder"


def _sheet(
    config: RecognitionConfig[Any], train: Index, classes: tuple[str, ...], *, count: int, bad: list[BadRow]
) -> list[tuple[str, NDArray[np.uint8]]]:
    """Return captions and frames (T, H, W, C) of random training clips, of evenly spaced rows."""
    clip = config.data.train_clip
    clip = replace(clip, crop=with_flip_pairs(clip.crop, classes))
    dataset = ClipDataset(train, [clip], config.data, seed=config.training.seed)
    rows = np.unique(np.linspace(0, len(train) - 1, min(count, len(train))).round().astype(int)).tolist()
    sheet = []
    with progress("reading clips", len(rows)) as meter:
        for row in rows:
            found = dataset[SampleKey(epoch=0, row=row)]
            meter.advance()
            bad.extend(
                _bad_row("training", train, row, file.reason)
                for file in found.bad
                if not any(one.path == file.path for one in bad)
            )
            if found.sample is None or found.bad:  # replaced by another video
                continue
            target = found.sample.target
            labels = [classes[c] for c in ((target,) if isinstance(target, int) else target)]
            caption = f"{', '.join(labels) or 'no label'}   ·   {'/'.join(Path(train.name(row)).parts[-2:])}"
            sheet.append((caption, found.sample.inputs[0].movedim(1, -1).numpy()))
    return sheet


def _bad_row(split: Split, index: Index, row: int, reason: str) -> BadRow:
    return BadRow(split=split, path=index.name(row), line=int(index.lines[row]), reason=reason)


def _write(
    result: Inspection,
    sheet: Sequence[tuple[str, NDArray[np.uint8]]],
    folder: Path,
    *,
    config: RecognitionConfig[Any],
    font: Path | None,
) -> None:
    say_missing(result.classes, font)
    size = config.data.train_clip.crop.size
    heading = f"Training clips as the model sees them, {size}×{size} px, by {config.recipe}"
    headers = [header for of_split in result.headers.values() for header in of_split if not header.fault]
    with drawn_with(font):
        if sheet:
            save_png(contact_sheet(sheet, heading=heading), folder / "sheet.png", crop=False)
        counts = {str(split): values for split, values in result.counts.items()}
        save_png(class_histogram(result.classes, counts), folder / "classes.png")
        figure = distributions(
            [one.seconds for one in headers if one.seconds is not None],
            [(one.width, one.height) for one in headers],
            [one.fps for one in headers if one.fps is not None],
        )
        save_png(figure, folder / "videos.png")
    try:
        write_text(folder / "inspection.json", strict_json.dumps(result.as_json(), indent=2) + "\n")
        _write_rows(folder / "bad_rows.csv", ("split", "path", "line", "reason"), result.bad)
        columns = ("one", "other", "one_split", "other_split", "mirrored", "bits")
        _write_rows(folder / "duplicates.csv", columns, result.duplicates)
    except OSError as error:
        raise cannot_write(error, folder) from error


def _write_rows(file: Path, columns: Sequence[str], rows: Sequence[Any]) -> None:
    """Write a table, or remove that of an earlier inspection if there are no rows."""
    file.unlink(missing_ok=True)
    if rows:
        write_csv(file, [columns, *(tuple(getattr(row, name) for name in columns) for row in rows)])


def _summary(headers: Sequence[Header]) -> dict[str, Any]:
    sizes = [f"{one.width}x{one.height}" for one in headers if not one.fault]
    found, counts = np.unique(np.array(sizes, dtype=str), return_counts=True)
    return {
        "seconds": _spread([one.seconds for one in headers if one.seconds is not None]),
        "fps": _spread([one.fps for one in headers if one.fps is not None]),
        "sizes": {str(size): int(count) for size, count in zip(found, counts, strict=True)},
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    low, middle, high = np.percentile(values, (0, 50, 100)).tolist()
    return {"total": float(np.sum(values)), "min": low, "median": middle, "max": high}
