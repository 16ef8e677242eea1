"""The videos that `fuzz_data.py` tries: short cuts of sound ones, damaged in one of many ways each."""

import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import PIL.Image
from benchmarks.fuzz_mutations import BYTES, IMAGES, PLACES, Rng, lie_packed, pipe, whole

from kinema.data.kinds import Source
from kinema.data.readers.packed import PackHeader, write_packed

PACKETS = 16  # of each video that is cut
FRAMES = 8  # of each folder
SUFFIXES = (".mp4", ".avi", ".mkv", ".webm", ".mov", ".ts", ".flv")


@dataclass(frozen=True)
class Case:
    """One mutated video; `count` is how many frames its list claims, for folders (None: nothing)."""

    number: int
    kind: str
    path: str
    form: Source
    count: int | None = None


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
    """Short videos, and folders of frames: JPEG, and PNG for every third; packed, with half of the frames or all.

    Each two neighbours in gray also stand for a field of optical flow, packed as well.
    """
    videos, folders, packed, packed_flow = list[Path](), list[Path](), list[Path](), list[Path]()
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
        header = PackHeader(height=height, width=width, frames=len(images) // 2, every=1, fps=None, flow=True)
        packed_flow.append(work / f"flow{number}.pack")
        write_packed(packed_flow[-1], header, map(_gray, images[: 2 * header.frames]))
    return {"video": videos, "rawframes": folders, "packed": packed, "packed_flow": packed_flow}


def _gray(image: Path) -> bytes:
    file = io.BytesIO()
    with PIL.Image.open(image) as picture:
        picture.convert("L").save(file, format=picture.format)
    return file.getvalue()


def make_case(number: int, seed: int, sources: dict[Source, list[Path]], work: Path) -> Case:
    """Case `number` of `seed`, which depends on nothing else but the sources: videos are as many as all others."""
    rng = np.random.default_rng([seed, number])
    shares = np.array([{"video": 3, "rawframes": 1, "packed": 1, "packed_flow": 1}[form] for form in sources])
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
    if form in ("packed", "packed_flow"):
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
