"""Damaged videos and frames through the readers and the loader: what becomes of them.

    python benchmarks/fuzz_data.py --sources FOLDER [--files 2000] [--seed 0] [--reader pyav torchcodec] [--json]
        [--form video rawframes packed]

Short cuts of the videos in FOLDER, folders of frames and packed files made of them, are damaged in one of many ways
each. Every case is read by each reader, and by a VideoDataset and a DataLoader with a worker process. It must end as a
sample of the right shape or as exactly one bad file: anything else is a defect, listed with the case's number, which
together with the seed makes the case again (--only NUMBER). Cases run in a child process, so that a crash, or a hang
beyond --limit seconds, is known by its case; the child's memory is limited and its growth is reported.
"""

import argparse
import dataclasses
import json
import logging
import multiprocessing
import os
import re
import resource
import shutil
import struct
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np
import PIL.Image
import psutil
import torch

from kinema.data.bad_files import BadFiles
from kinema.data.crops import ViewCrops
from kinema.data.dataset import DataOptions, VideoDataset
from kinema.data.index import index_paths
from kinema.data.loader import EvalBatches, load
from kinema.data.packed import PackHeader, open_packed, write_packed
from kinema.data.rawframes import open_rawframes
from kinema.data.reader import FrameReader
from kinema.data.sampling import Sampling
from kinema.data.sources import Source
from kinema.data.timeout import within
from kinema.data.video import Reader, open_video
from kinema.data.views import Views
from kinema.errors import MediaError

PACKETS = 16  # of each video that is cut
FRAMES = 8  # of each folder
VIEWS = Views(sampling=Sampling(clip_len=4, frame_interval=2, num_clips=2), crops=ViewCrops(short_side=32, size=32))
CLIPS = (2, 4, 3, 32, 32)  # what VIEWS make of a video
FORMS: tuple[Source, ...] = ("video", "rawframes", "packed")
CHUNK = 25  # cases that one loader reads
MEMORY = 6 << 30  # bytes that a child may map beyond what it starts with
SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".ts", ".flv")

Rng = np.random.Generator


# Mutations of a file's bytes


def flip(data: bytearray, rng: Rng) -> bytearray:
    for place in rng.integers(len(data), size=int(rng.integers(1, 60))):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def flip_head(data: bytearray, rng: Rng) -> bytearray:
    head = min(len(data), 600)
    return flip(data[:head], rng) + data[head:]


def flip_tables(data: bytearray, rng: Rng) -> bytearray:
    """Bytes of what describes the frames: MP4's moov, AVI's idx1, or the last bytes."""
    start = max(data.find(b"moov"), data.find(b"idx1"))
    start = start if start > 0 else max(0, len(data) - 600)
    return data[:start] + flip(data[start:], rng)


def truncate(data: bytearray, rng: Rng) -> bytearray:
    return data[: int(rng.integers(len(data)))]


def behead(data: bytearray, rng: Rng) -> bytearray:
    return data[int(rng.integers(1, len(data))) :]


def blank(data: bytearray, rng: Rng) -> bytearray:
    start = int(rng.integers(len(data)))
    length = int(rng.integers(1, len(data) - start + 1))
    data[start : start + length] = bytes([rng.choice([0, 255])]) * length
    return data


def repeat_part(data: bytearray, rng: Rng) -> bytearray:
    start, end = sorted(rng.integers(len(data) + 1, size=2).tolist())
    place = int(rng.integers(len(data)))
    return data[:place] + data[start:end] + data[place:]


def wrong_header(data: bytearray, rng: Rng) -> bytearray:
    headers = [
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"RIFF\xff\xff\xff\xffAVI LIST",
        b"\x1aE\xdf\xa3", b"\x00\x00\x00\x18ftypmp42", b"GIF89a\xff\xff\xff\xff", b"\x00\x00\x01\xba", b"#EXTM3U\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n", b"BM\xff\xff\xff\x7f", b"II*\x00\xff\xff\xff\xff",
    ]  # fmt: skip
    header = headers[int(rng.integers(len(headers)))]
    return bytearray(header) + data[len(header) * int(rng.integers(2)) :]


def lie(data: bytearray, rng: Rng) -> bytearray:
    """Another number where the container or the image counts frames, times, bytes or pixels."""
    fields = [
        (b"stsz", 4), (b"stsz", 8), (b"stsz", 12), (b"stts", 4), (b"stts", 8), (b"stsc", 4), (b"stco", 4), (b"stco", 8),
        (b"stss", 4), (b"ctts", 4), (b"avc1", 24), (b"hev1", 24), (b"mdhd", 12), (b"mdhd", 16), (b"elst", 8),
        (b"tkhd", 76), (b"avih", 4), (b"avih", 20), (b"avih", 36), (b"strh", 24), (b"strh", 28), (b"strh", 36),
        (b"strf", 8), (b"strf", 12), (b"idx1", 0), (b"\xff\xc0", 3), (b"\xff\xc0", 5), (b"IHDR", 0), (b"IHDR", 4),
    ]  # fmt: skip
    there = [(data.find(name) + len(name) + place) for name, place in fields if name in data]
    if not there:
        return flip_head(data, rng)
    place = there[int(rng.integers(len(there)))]
    numbers = [0, 1, 2, 0x7FFF, 0x10000, 0xFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x40004000, 0x00FFFF00]
    data[place : place + 4] = numbers[int(rng.integers(len(numbers)))].to_bytes(4, str(rng.choice(["big", "little"])))
    return data


def whole(data: bytearray, _rng: Rng) -> bytearray:
    return data


def lie_packed(data: bytearray, rng: Rng) -> bytearray:
    """Other numbers in the header of a packed file, or in its table of sizes, with checksums that are right again."""
    images = int.from_bytes(data[24:28], "little")
    numbers = [0, 1, 2, 1000, 0x7FFF, 0xFFFF, 0xFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF]
    for _ in range(int(rng.integers(1, 4))):
        chance, number = rng.random(), int(rng.choice(numbers))
        if chance < 0.2:  # the version, the height, or the width
            struct.pack_into("<H", data, int(rng.choice([8, 10, 12])), number & 0xFFFF)
        elif chance < 0.45:  # frames, images, or frames per second
            struct.pack_into("<I", data, int(rng.choice([16, 24, 28, 32])), number)
        elif chance < 0.5:  # every; with other numbers than these the dataset says that its clips need more frames
            struct.pack_into("<I", data, 20, int(rng.integers(3)))
        elif chance < 0.6:  # more frames, of a table that does not end
            struct.pack_into("<III", data, 16, number, 1, number)
        else:
            struct.pack_into("<I", data, 44 + 4 * int(rng.integers(images)), number)
    end = 44 + 4 * int.from_bytes(data[24:28], "little")
    struct.pack_into("<I", data, 36, zlib.crc32(data[44:end]))
    struct.pack_into("<I", data, 40, zlib.crc32(data[:40]))
    return data


BYTES: list[Callable[[bytearray, Rng], bytearray]] = [
    flip, flip, flip_head, flip_tables, truncate, behead, blank, repeat_part, wrong_header, lie, lie,
]  # fmt: skip


# Mutations that are no bytes: each makes something at `path`


def empty(path: Path, _rng: Rng) -> None:
    path.touch()


def folder(path: Path, _rng: Rng) -> None:
    path.mkdir()


def link_loop(path: Path, _rng: Rng) -> None:
    other = path.with_name(path.name + ".loop")
    other.unlink(missing_ok=True)  # an image may be damaged twice
    path.symlink_to(other)
    other.symlink_to(path)


def dead_link(path: Path, _rng: Rng) -> None:
    path.symlink_to("nowhere")


def missing(path: Path, _rng: Rng) -> None:
    pass


def noise(path: Path, rng: Rng) -> None:
    path.write_bytes(rng.bytes(int(rng.integers(1, 20_000))))


def pipe(path: Path, _rng: Rng) -> None:
    """Blocks whoever opens it."""
    os.mkfifo(path)


PLACES: list[Callable[[Path, Rng], None]] = [empty, folder, link_loop, dead_link, missing, noise]


# Mutations of one image among good ones


def other_size(path: Path, rng: Rng) -> None:
    PIL.Image.new("RGB", tuple(rng.integers(1, 90, size=2).tolist())).save(path, "JPEG")


def other_mode(path: Path, rng: Rng) -> None:
    mode = str(rng.choice(["L", "P", "RGBA", "LA", "I;16", "1", "CMYK"]))
    PIL.Image.new(mode, (64, 48)).save(path, "JPEG" if mode == "CMYK" else "PNG")


IMAGES: list[Callable[[Path, Rng], None]] = [*PLACES, other_size, other_mode]


@dataclass(frozen=True)
class Case:
    """One mutated video; `count` is how many frames its list claims, for folders (None: nothing)."""

    number: int
    kind: str
    path: str
    form: Source
    count: int | None = None


@dataclass
class Report:
    """Outcomes by "kind, way" and defects by case."""

    files: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    defects: list[str] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    """Memory of the child in MiB, after each chunk of cases; from the last one that was started."""
    slowest: dict[str, float] = field(default_factory=dict)


def cut(video: Path, to: Path) -> None:
    """The first packets of `video` in the same container; the whole file where these cannot be copied."""
    try:
        with av.open(str(video), metadata_errors="replace") as source, av.open(str(to), "w") as target:
            stream = source.streams.video[0]
            copy = target.add_stream_from_template(stream)
            for number, packet in enumerate(source.demux(stream)):
                if packet.dts is None or number >= PACKETS:
                    break
                packet.stream = copy
                target.mux(packet)
        with av.open(str(to)) as made:
            next(made.decode(video=0))
    except (av.FFmpegError, ValueError, StopIteration):
        shutil.copyfile(video, to)


def make_sources(folder: Path, work: Path) -> dict[Source, list[Path]]:
    """Short videos, and folders of frames: JPEG, and PNG for every third; packed, with half of the frames or all."""
    videos, folders, packed = list[Path](), list[Path](), list[Path]()
    for number, video in enumerate(sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)):
        short = work / f"source{number}{video.suffix}"
        cut(video, short)
        videos.append(short)
        frames = work / f"source{number}"
        frames.mkdir()
        suffix = "png" if number % 3 == 2 else "jpg"
        with av.open(str(video), metadata_errors="replace") as container:
            for place, frame in zip(range(1, FRAMES + 1), container.decode(video=0), strict=False):
                size = (128, max(2, round(128 * frame.height / frame.width)))
                frame.to_image().resize(size).save(frames / f"img_{place:05}.{suffix}")
        folders.append(frames)
        images = sorted(frames.iterdir())
        width, height = PIL.Image.open(images[0]).size
        every = 1 + number % 2
        header = PackHeader(height=height, width=width, frames=len(images), every=every, fps=None)
        packed.append(work / f"source{number}.pack")
        write_packed(packed[-1], header, (image.read_bytes() for image in images[::every]))
    return {"video": videos, "rawframes": folders, "packed": packed}


def make_case(number: int, seed: int, sources: dict[Source, list[Path]], work: Path) -> Case:
    """Case `number` of `seed`, which depends on nothing else but the sources: videos are as many as all others."""
    rng = np.random.default_rng([seed, number])
    shares = np.array([{"video": 2, "rawframes": 1, "packed": 1}[form] for form in sources])
    form: Source = list(sources)[int(rng.choice(len(sources), p=shares / shares.sum()))]
    source = sources[form][int(rng.integers(len(sources[form])))]
    path = work / f"case{number}{source.suffix}"
    chance = rng.random()
    if chance < 0.005 and form != "rawframes":
        return _made(number, pipe, path, form, rng)
    if chance < 0.06:
        return _made(number, PLACES[int(rng.integers(len(PLACES)))], path, form, rng)
    if form == "rawframes":
        return _damaged_frames(number, source, path, rng)
    mutate = BYTES[int(rng.integers(len(BYTES)))]
    if form == "packed":
        # Checksums, and a JPEG decoder that forgives nothing, find most damage: whole files must still be samples.
        mutate = [lie_packed, whole, mutate][int(rng.choice(3, p=[0.4, 0.2, 0.4]))]
    path.write_bytes(mutate(bytearray(source.read_bytes()), rng))
    return Case(number, f"{form} {mutate.__name__}", str(path), form)


def _damaged_frames(number: int, source: Path, path: Path, rng: Rng) -> Case:
    shutil.copytree(source, path)
    images = sorted(path.iterdir())
    if rng.random() < 0.2:
        count = int(rng.choice([0, 1, len(images) - 1, len(images) + 1, 1000, 2**31 - 1]))
        return Case(number, "frames lying count", str(path), "rawframes", count=count or None)
    for _ in range(int(rng.integers(1, 4))):
        image = images[int(rng.integers(len(images)))]
        data = bytearray(image.read_bytes()) if image.is_file() else bytearray()
        if rng.random() < 0.7 and data:
            mutate = BYTES[int(rng.integers(len(BYTES)))]
            image.write_bytes(mutate(data, rng))
            kind = mutate.__name__
        else:
            if image.is_dir():
                image.rmdir()
            image.unlink(missing_ok=True)
            change = IMAGES[int(rng.integers(len(IMAGES)))]
            change(image, rng)
            kind = change.__name__
    return Case(number, f"frames {kind}", str(path), "rawframes")


def _made(number: int, change: Callable[[Path, Rng], None], path: Path, form: Source, rng: Rng) -> Case:
    change(path, rng)
    return Case(number, change.__name__, str(path), form)


def remove(case: Case) -> None:
    path = Path(case.path)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    for one in (path, path.with_name(path.name + ".loop")):
        one.unlink(missing_ok=True)


# What the child does. It sends (way, case number, outcome) for each case and way of reading it.


def open_case(case: Case, reader: Reader) -> FrameReader:
    if case.form == "packed":
        return open_packed(case.path)
    return (
        open_rawframes(case.path, count=case.count)
        if case.form == "rawframes"
        else open_video(case.path, reader=reader)
    )


def read_directly(case: Case, reader: Reader, timeout: float) -> str:
    def read() -> torch.Tensor:
        video = open_case(case, reader)
        count = len(video)
        return video.frames([count - 1, 0, count // 2, 0, count // 3])

    try:
        frames = within(timeout, case.path, read)
    except MediaError as error:
        sound = (
            error.path == case.path and 0 < len(error.reason) < 300 and not re.search(r"\n|0x[0-9a-f]{6}", str(error))
        )
        return "bad" if sound else f"defect: message {error}"
    except Exception as error:  # any other one is what is looked for
        return f"defect: {type(error).__name__}: {error}"
    right = frames.shape[0] == 5 and frames.shape[-1] == 3 and frames.ndim == 4 and min(frames.shape) > 0
    if not (right and frames.dtype == torch.uint8 and frames.is_contiguous()):
        return f"defect: frames {tuple(frames.shape)} {frames.dtype}"
    return "sample"


def read_by_loader(cases: Sequence[Case], reader: Reader, timeout: float, workers: int) -> Iterator[tuple[int, str]]:
    index = index_paths([case.path for case in cases], source="", root="/")
    index.frame_counts[:] = torch.tensor([case.count or 0 for case in cases])
    index.labels[:] = torch.arange(len(cases))
    options = DataOptions(source=cases[0].form, reader=reader, decode_timeout=timeout)
    account = BadFiles(num_videos=len(cases), max_fraction=1)
    bad = 0
    loader = load(VideoDataset(index, VIEWS, options), EvalBatches(len(cases), 1), workers=workers)
    for case, batch in zip(cases, loader, strict=True):
        account.add(batch.bad)
        bad += len(batch.bad)
        if len(batch) == 1 and not batch.bad:
            right = tuple(batch.clips.shape[1:]) == CLIPS and batch.clips.dtype == torch.uint8
            place = cases.index(case)
            right = right and batch.indices.tolist() == batch.labels.tolist() == [place]
            yield case.number, "sample" if right else f"defect: clips {tuple(batch.clips.shape)}"
        elif len(batch) == 0 and [file.path for file in batch.bad] == [case.path]:
            yield case.number, "bad" if len(account) == bad else "defect: counted wrongly"
        else:
            yield case.number, f"defect: {len(batch)} samples and {len(batch.bad)} bad files"


def child(pipe: Connection, chunks: list[list[Case]], readers: list[Reader], timeout: float) -> None:
    logging.disable()  # each bad file would be a line
    warnings.filterwarnings("ignore", module="PIL")
    multiprocessing.set_start_method("fork", force=True)  # of the loaders' workers: many are started
    torch.set_num_threads(1)
    space = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    for chunk in chunks:
        for form in FORMS:
            cases = [case for case in chunk if case.form == form]
            for reader in readers if form == "video" else readers[:1]:
                way = reader if form == "video" else form
                for case in cases:
                    pipe.send((way, case.number, "started"))
                    pipe.send((way, case.number, read_directly(case, reader, timeout)))
                if cases:
                    _send_loaded(pipe, cases, reader, timeout, f"{way} loader")
        pipe.send(("rss", 0, psutil.Process().memory_info().rss / 2**20))
    pipe.send(("end", 0, ""))


def _send_loaded(pipe: Connection, cases: list[Case], reader: Reader, timeout: float, way: str) -> None:
    """A worker that dies or raises is known by its case only when it reads that case alone."""
    outcomes = dict[int, str]()
    pipe.send((way, cases[0].number, "started"))
    try:
        for number, outcome in read_by_loader(cases, reader, timeout, workers=1):
            outcomes[number] = outcome
            pipe.send((way, number, outcome))
    except Exception as error:  # any one is a defect of the case after the last outcome
        fault = f"defect: {type(error).__name__}: {str(error).strip().splitlines()[-1]}"
        rest = [case for case in cases if case.number not in outcomes]
        pipe.send((way, rest[0].number, fault))
        if rest[1:]:
            _send_loaded(pipe, rest[1:], reader, timeout, way)


# What the parent does


def run(
    sources: Path, *, files: int, seed: int, readers: list[Reader], limit: float = 30, timeout: float = 2,
    only: int | None = None, forms: Sequence[Source] = FORMS, tell: Callable[[str], None] = lambda _line: None,
) -> Report:  # fmt: skip
    """Try `files` cases, each of which may take `limit` seconds where it is read; `timeout` is the dataset's own."""
    report = Report(files=files)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        made = make_sources(sources, work)
        chosen = {form: made[form] for form in forms}
        numbers = range(files) if only is None else [only]
        for first in range(0, len(numbers), 20 * CHUNK):
            part = [make_case(number, seed, chosen, work) for number in numbers[first : first + 20 * CHUNK]]
            _try(part, readers, limit, timeout, report)
            for case in part:
                remove(case)
            rss = f"{report.rss[-1]:.0f} MiB" if report.rss else ""
            tell(f"{first + len(part)} files, {len(report.defects)} defects, {rss}")
    return report


def _try(cases: list[Case], readers: list[Reader], limit: float, timeout: float, report: Report) -> None:
    """Run the cases in a child, and those that remain in another one when it dies or hangs."""
    by_number = {case.number: case for case in cases}
    while cases:
        chunks = [cases[first : first + CHUNK] for first in range(0, len(cases), CHUNK)]
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=child, args=(theirs, chunks, readers, timeout))
        process.start()
        theirs.close()
        way, number, fault, since = "start", cases[0].number, "", time.monotonic()
        while True:
            try:
                if not ours.poll(limit + 60 * (way == "start")):
                    fault = f"defect: hangs for {limit:g} s"
                    break
                way, number, outcome = ours.recv()
            except EOFError:
                process.join()
                fault = f"defect: process died ({process.exitcode})"
                break
            if way == "end":
                process.join()
                return
            if way == "rss":
                report.rss.append(outcome)
            elif outcome == "started":
                since = time.monotonic()
            else:
                now = time.monotonic()
                _note(report, by_number[number], way, outcome, now - since)
                since = now
        _note(report, by_number[number], way, fault, 0)
        _kill(process.pid)
        process.join()
        cases = [case for case in cases if case.number > number]


def _kill(pid: int | None) -> None:
    """The child and its loader's workers, if they are there."""
    try:
        process = psutil.Process(pid)
        for one in [*process.children(recursive=True), process]:
            one.kill()
    except psutil.NoSuchProcess:
        pass


def _note(report: Report, case: Case, way: str, outcome: str, seconds: float) -> None:
    report.outcomes[f"{case.kind}, {way}: {outcome.partition(':')[0]}"] += 1
    if outcome.startswith("defect"):
        report.defects.append(f"case {case.number} ({case.kind}, {Path(case.path).suffix}), {way}: {outcome[8:]}")
    report.slowest[way] = max(report.slowest.get(way, 0), seconds)


def table(report: Report) -> str:
    """Counts of samples, bad files and defects by kind and way."""
    rows = sorted({key.rpartition(":")[0] for key in report.outcomes})
    lines = [f"{'kind, way':<44}{'sample':>8}{'bad':>8}{'defect':>8}"]
    for row in rows:
        counts = [report.outcomes[f"{row}: {outcome}"] for outcome in ("sample", "bad", "defect")]
        lines.append(f"{row:<44}" + "".join(f"{count:>8}" for count in counts))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=Path, required=True, help="folder of sound videos")
    parser.add_argument("--files", type=int, default=2000, help="mutated files and folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", nargs="+", choices=["pyav", "torchcodec"], default=["pyav", "torchcodec"])
    parser.add_argument("--form", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--limit", type=float, default=30, help="seconds after which a case counts as hanging")
    parser.add_argument("--timeout", type=float, default=2, help="--data.decode-timeout of the dataset, in seconds")
    parser.add_argument("--only", type=int, help="number of one case to try")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = run(
        options.sources, files=options.files, seed=options.seed, readers=options.reader, limit=options.limit,
        timeout=options.timeout, only=options.only, forms=options.form,
        tell=str if options.json else partial(print, flush=True),
    )  # fmt: skip
    if options.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        print(table(report), *report.defects, sep="\n")
        print(f"memory of the child, MiB: {report.rss[0]:.0f} at first, {max(report.rss):.0f} at most")
        print("slowest, seconds:", {way: round(seconds, 1) for way, seconds in report.slowest.items()})
    raise SystemExit(bool(report.defects))


if __name__ == "__main__":
    main()
