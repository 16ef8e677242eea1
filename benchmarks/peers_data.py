"""Milliseconds a training sample costs a core: Kinema, MMAction2's own pipeline, and the limit.

    python benchmarks/peers_data.py VIDEOS WORK --peer PEER_PYTHON [--samples 100] [--forms FORM …] [--json FILE]

VIDEOS is a folder of videos. Of these, `kinema prepare` makes in WORK what is measured: 256p videos, dense-encoded
ones, rawframes (quality 95), packed rawframes, and a sparse pack (each 8th frame, quality 85). PEER_PYTHON is the
interpreter of a virtual environment with MMAction2 (see `peer_pipeline.py`), whose dataset, transforms and configs are
run as they are. Packed files are compared with the peer on rawframes; the sparse pack with the peer on 256p videos.

First in one process, without workers, where the three take turns, batch by batch. Then as a training has it, from a
loader with one worker, several batches of either in turn: what the worker and the process it feeds need together. Times
are CPU time, so that what else runs on the machine matters less.
"""

import argparse
import json
import multiprocessing
import statistics
import subprocess
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import psutil
import torch

from kinema.benchmark.data import measured_batches
from kinema.benchmark.options import DataMeasure
from kinema.data.dataset import ClipDataset, open_train_index
from kinema.data.lists.annotations import read_index
from kinema.data.loader import load
from kinema.data.samples import SampleKey
from kinema.prepare.frames import prepare_frames
from kinema.prepare.options import FramesOptions, PackOptions, ResizeOptions
from kinema.prepare.pack import prepare_pack
from kinema.prepare.resize import prepare_resize
from kinema.recipes import config_of

RECIPES = {
    "TSN 1x1x3": "tsn_r50_1x1x3_100e_kinetics400_rgb",
    "SlowOnly 4x16": "slowonly_r50_4x16x1_256e_kinetics400_rgb",
    "SlowFast 32x2": "slowfast_r50_4x16x1_256e_kinetics400_rgb",
}
PEER_CONFIGS = {
    "TSN 1x1x3": "recognition/tsn/tsn_imagenet-pretrained-r50_8xb32-1x1x3-100e_kinetics400-rgb.py",
    "SlowOnly 4x16": "recognition/slowonly/slowonly_r50_8xb16-4x16x1-256e_kinetics400-rgb.py",
    "SlowFast 32x2": "recognition/slowfast/slowfast_r50_8xb8-4x16x1-256e_kinetics400-rgb.py",
}
BATCH = 10
TURNS = 3
STARTING = 3
"""Batches before a worker goes at its pace."""
PEER_ON = {"packed": "rawframes", "sparse": "video"}


def prepared(videos: Path, work: Path) -> dict[str, Path]:
    """Folder or list of each form."""
    inside = work / "videos" / "all"
    inside.parent.mkdir(parents=True, exist_ok=True)
    if not inside.exists():
        inside.symlink_to(videos.absolute())
    source = inside.parent
    prepare_resize(ResizeOptions(source=str(source), output=work / "video"))
    prepare_resize(ResizeOptions(source=str(source), output=work / "dense", dense=True))
    prepare_frames(FramesOptions(source=str(work / "video"), output=work / "rawframes"))
    prepare_pack(PackOptions(source=str(work / "rawframes"), output=work / "packed", kind="rawframes"))
    prepare_pack(PackOptions(source=str(work / "video"), output=work / "sparse", every=8, quality=85))
    lists = {"rawframes": "frames.csv", "packed": "packed.csv", "sparse": "packed.csv"}
    return {form: work / form / lists.get(form, "") for form in ("rawframes", "packed", "video", "dense", "sparse")}


class Peer:
    """MMAction2's training data in its own interpreter."""

    def __init__(self, python: str) -> None:
        script = Path(__file__).with_name("peer_pipeline.py")
        self._process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self, batches: list[list[int]], *, workers: int = 0, **request: object) -> list[float]:
        """CPU time of each batch."""
        self._process.stdin.write(json.dumps({**request, "batches": batches, "workers": workers}) + "\n")
        self._process.stdin.flush()
        return [float(each) for each in json.loads(self._process.stdout.readline())]

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


@dataclass
class Case:
    """A recipe on a form of input, for both."""

    name: str
    form: str
    keys: dict[str, object]
    request: dict[str, object]
    count: int
    """Videos in the list."""

    def rows(self, number: int) -> list[int]:
        """Of batch `number`."""
        return [(number * BATCH + k) % self.count for k in range(BATCH)]


def case_of(name: str, form: str, place: dict[str, Path]) -> Case:
    source, kind = {"dense": "video", "sparse": "packed"}.get(form, form), PEER_ON.get(form, form)
    listing, root, count = peer_list(kind, place[kind])
    request: dict[str, object] = {"config": PEER_CONFIGS[name], "kind": kind, "list": listing, "root": root}
    return Case(name, form, {"data.source": source, "data.train": str(place[form])}, request, count)


def in_one_process(case: Case, samples: int, peer: Peer) -> tuple[float, float, float]:
    """Milliseconds a sample: own, limit, peer."""
    measure = DataMeasure(samples=samples, batch=BATCH)
    times: list[tuple[float, float, float]] = []
    for number, (_, ours, limit) in enumerate(measured_batches(RECIPES[case.name], measure, case.keys)):
        (theirs,) = peer.seconds([case.rows(number)], seed=number, **case.request)
        if number * BATCH >= measure.warm_up:
            times.append((ours, limit, theirs / BATCH))
    ours, limit, theirs = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    return ours, limit, theirs


def through_a_worker(case: Case, samples: int, peer: Peer) -> tuple[float, float]:
    """Milliseconds a sample, of the worker and the process it feeds: own, peer."""
    config = config_of(RECIPES[case.name], case.keys)
    dataset = ClipDataset(open_train_index(config.data), [config.data.train_clip], config.data)
    counted = -(-samples // BATCH // TURNS)
    times: list[tuple[float, float]] = []
    for turn in range(TURNS):
        # The first ones start the worker; while the last two are on their way it has nothing to do.
        numbers = range(turn * counted, (turn + 1) * counted + STARTING + 2)
        keys = [[SampleKey(number, row) for row in case.rows(number)] for number in numbers]
        marks = [cpu_seconds() for _ in load(dataset, keys, workers=1)]  # type: ignore[arg-type]
        theirs = peer.seconds([case.rows(number) for number in numbers], workers=1, seed=turn, **case.request)
        times.append((marks[-3] - marks[STARTING - 1], sum(theirs[STARTING:-2])))
    ours, theirs = (1000 * statistics.median(column) / counted / BATCH for column in zip(*times, strict=True))
    return ours, theirs


def cpu_seconds() -> float:
    """Of this process and its workers."""
    children = [psutil.Process(child.pid).cpu_times() for child in multiprocessing.active_children()]
    return time.process_time() + sum(child.user + child.system for child in children)


def peer_list(kind: str, place: Path) -> tuple[str, str, int]:
    """A list of the same videos in MMAction2's form, what its paths start from, and how many they are."""
    if kind == "rawframes":
        index, listing = read_index(place, kind="rawframes", root="."), place.with_name("mmaction2.txt")
        rows = [f"{index.path(row)[2:]} {index.num_frames(row)} {index.label(row)}\n" for row in range(len(index))]
        listing.write_text("".join(rows))
        return str(listing), str(place.parent), len(index)
    videos = sorted(place.rglob("*.mp4"))
    listing = place / "videos.txt"
    listing.write_text("".join(f"{video.relative_to(place)} 0\n" for video in videos))
    return str(listing), str(place), len(videos)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--samples", type=int, default=100)
    parser.add_argument("--forms", nargs="+", default=["rawframes", "packed", "video", "dense", "sparse"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    place = prepared(options.videos, options.work)
    for form, path in place.items():
        folder = path if path.is_dir() else path.parent
        print(f"{form}: {sum(file.stat().st_size for file in folder.rglob('*') if file.is_file()) / 1e6:.2f} MB")
    peer, rows = Peer(options.peer), list[dict[str, object]]()
    print("\n| model | input | ms: Kinema, limit, MMAction2 | of the limit | times MMAction2 | "
          "from a worker, ms: Kinema, MMAction2 | times MMAction2 |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for name, form in product(RECIPES, options.forms):
        if (name, form) == ("SlowFast 32x2", "sparse"):
            continue
        case = case_of(name, form, place)
        ours, limit, theirs = in_one_process(case, options.samples, peer)
        own_worker, their_worker = through_a_worker(case, options.samples, peer)
        print(f"| {name} | {form} | {ours:.2f}, {limit:.2f}, {theirs:.2f} | {limit / ours:.2f} | {theirs / ours:.2f} | "
              f"{own_worker:.2f}, {their_worker:.2f} | {their_worker / own_worker:.2f} |", flush=True)  # fmt: skip
        rows.append({"model": name, "input": form, "kinema_ms": ours, "limit_ms": limit, "peer_ms": theirs,
                     "kinema_worker_ms": own_worker, "peer_worker_ms": their_worker})  # fmt: skip
    peer.close()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
