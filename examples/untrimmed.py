"""Untrimmed videos with exact ground truth, made of trimmed clips and of other footage between them.

python examples/untrimmed.py tennis7_256p other_footage --output untrimmed [--train 150 --val 50 --seed 0]

The first folder holds a list `groups.csv` with the columns path, label and fold, as scenes do not cross folds: one fold
is for validation. The second holds other videos, of which every third is for validation. All are brought to one size
and rate. There will be

  untrimmed/videos/*.mp4                      clips with gaps of 1.5 to 8 seconds between them, 30 to 60 seconds in all
  untrimmed/ground_truth.json                 what is when, in ActivityNet's layout
  untrimmed/clips/{train,val}/<label>/*.mp4   the clips alone, and some of the other footage as a class `background`
  untrimmed/footage/*.mp4                     all of the other footage
"""

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as F

from kinema.console import progress, show_messages
from kinema.data.lists.class_folders import VIDEO_SUFFIXES
from kinema.data.readers.sources import open_video
from kinema.prepare.work.parallel import in_parallel
from kinema.storage import replacing, write_text

RATE = 15  # frames per second
SIZE = (112, 192)  # height, width
GAP = (1.5, 8.0)  # seconds between two clips, of pieces from another video each:
PIECE = (1.0, 3.5)
LENGTH = (30.0, 60.0)
SHORTEST_FOOTAGE = 1.5
SUBSETS = {"train": "training", "val": "validation"}

Frames = NDArray[np.uint8]


class Piece(NamedTuple):
    """Frames `start` to `end` of a video, counted at `RATE`; without a label it belongs to a gap."""

    path: Path
    start: int
    end: int
    label: str = ""


class Job(NamedTuple):
    output: Path
    pieces: list[Piece]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("footage", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--train", type=int, default=150, help="untrimmed videos for training")
    parser.add_argument("--val", type=int, default=50, help="untrimmed videos for validation")
    parser.add_argument("--fold", default="0", help="fold of the clips that are for validation")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    show_messages()
    clips = {split: list(read_clips(arguments.clips, arguments.fold, split)) for split in SUBSETS}
    footage = {split: find_footage(arguments.footage, split) for split in SUBSETS}
    # Whole clips and footage first, small: the untrimmed videos are then made of these.
    sources: list[Job] = []
    made: list[Job] = []
    database = {}
    for number, split in enumerate(SUBSETS):
        rng = np.random.default_rng((arguments.seed, number))
        folder = arguments.output / "clips" / split
        whole_clips = [Job(folder / clip.label / clip.path.name, [clip]) for clip in clips[split]]
        whole_footage = [Job(arguments.output / "footage" / f"{each.path.stem}.mp4", [each]) for each in footage[split]]
        sources += whole_clips + whole_footage
        small_clips = [job.pieces[0]._replace(path=job.output) for job in whole_clips]
        small_footage = [job.pieces[0]._replace(path=job.output) for job in whole_footage]
        per_class = len(small_clips) // len({clip.label for clip in small_clips})
        for index in range(2 * per_class):
            made.append(Job(folder / "background" / f"{index:03}.mp4", [draw(small_footage, 2.0, rng)]))
        for index in range(getattr(arguments, split)):
            name = f"{split}_{index:03}"
            pieces = compose(small_clips, small_footage, rng)
            made.append(Job(arguments.output / "videos" / f"{name}.mp4", pieces))
            database[name] = annotate(pieces, SUBSETS[split])
    for title, jobs in (("Making clips small", sources), ("Making videos", made)):
        missing = [job for job in jobs if not job.output.exists()]
        with progress(title, len(missing)) as meter:
            for _ in in_parallel(make, missing, workers=0):
                meter.advance()
    write_text(arguments.output / "ground_truth.json", json.dumps({"version": "1", "database": database}, indent=1))


def read_clips(folder: Path, fold: str, split: str) -> Iterator[Piece]:
    """The clips of one split, each as a whole."""
    with (folder / "groups.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if (row["fold"] == fold) == (split == "val"):
                yield whole(folder / row["path"], row["label"])


def find_footage(folder: Path, split: str) -> list[Piece]:
    """The other videos of one split, each as a whole, but for very short ones."""
    found = [whole(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in VIDEO_SUFFIXES]
    long = [video for video in found if video.end >= SHORTEST_FOOTAGE * RATE]
    return [video for number, video in enumerate(long) if (number % 3 == 2) == (split == "val")]


def whole(path: Path, label: str = "") -> Piece:
    reader = open_video(str(path))
    return Piece(path.resolve(), 0, int(len(reader) / (reader.fps or RATE) * RATE), label)


def compose(clips: list[Piece], footage: list[Piece], rng: np.random.Generator) -> list[Piece]:
    """Gap, clip, gap, …, gap, until the video is as long as it shall be."""
    wanted = rng.uniform(*LENGTH) * RATE
    pieces: list[Piece] = []
    while sum(piece.end - piece.start for piece in pieces) < wanted:
        pieces += [*gap(footage, rng), clips[rng.integers(len(clips))]]
    return [*pieces, *gap(footage, rng)]


def gap(footage: list[Piece], rng: np.random.Generator) -> list[Piece]:
    wanted = rng.uniform(*GAP) * RATE
    pieces: list[Piece] = []
    while (length := sum(piece.end - piece.start for piece in pieces)) < wanted:
        pieces.append(draw(footage, min(rng.uniform(*PIECE), max((wanted - length) / RATE, 0.5)), rng))
    return pieces


def draw(footage: list[Piece], seconds: float, rng: np.random.Generator) -> Piece:
    """So many seconds from anywhere in the footage."""
    video = footage[rng.integers(len(footage))]
    length = min(round(seconds * RATE), video.end)
    start = int(rng.integers(video.end - length + 1))
    return Piece(video.path, start, start + length)


def annotate(pieces: list[Piece], subset: str) -> dict[str, object]:
    """A video's entry in ActivityNet's layout, times in seconds."""
    ends = np.cumsum([piece.end - piece.start for piece in pieces]) / RATE
    starts = [0.0, *ends[:-1]]
    return {
        "subset": subset,
        "duration": float(ends[-1]),
        "annotations": [
            {"segment": [round(float(start), 4), round(float(end), 4)], "label": piece.label}
            for piece, start, end in zip(pieces, starts, ends, strict=True)
            if piece.label
        ],
    }


def make(job: Job) -> None:
    """Write the pieces one after the other."""
    with replacing(job.output) as temporary, av.open(temporary, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "23", "preset": "veryfast"})
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in (frame for piece in job.pieces for frame in frames_of(piece)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def frames_of(piece: Piece) -> Frames:
    """(n, H, W, 3): the frames shown at each tick of the common rate, filling the common size, cut at the sides."""
    reader = open_video(str(piece.path))
    ticks = np.arange(piece.start, piece.end) * (reader.fps or RATE) / RATE
    frames = reader.frames(np.minimum(ticks.astype(int), len(reader) - 1).tolist()).permute(0, 3, 1, 2)
    scale = max(SIZE[0] / frames.shape[2], SIZE[1] / frames.shape[3])
    size = [max(SIZE[0], round(frames.shape[2] * scale)), max(SIZE[1], round(frames.shape[3] * scale))]
    cut = F.center_crop(F.resize(frames, size, antialias=True), list(SIZE))
    return np.ascontiguousarray(cut.permute(0, 2, 3, 1).numpy())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
