"""Milliseconds a training sample costs a core: Kinema, MMAction2's own pipeline, and the limit.

    python benchmarks/peers_data.py VIDEOS WORK --peer PEER_PYTHON [--samples 100] [--json FILE]

VIDEOS is a folder of videos. Of these, `kinema prepare` makes in WORK what is measured: 256p videos, dense-encoded
ones, rawframes (quality 95), packed rawframes, and a sparse pack (each 8th frame, quality 85). PEER_PYTHON is the
interpreter of a virtual environment with MMAction2 (see `peer_pipeline.py`), whose dataset, transforms and configs are
run as they are. The three take turns, batch by batch; times are CPU time, so that what else runs on the machine
matters less. Packed files are compared with the peer on rawframes; the sparse pack with the peer on 256p videos.
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path

import torch

from kinema.benchmark.data import DataMeasure, measured_batches
from kinema.benchmark.table import markdown
from kinema.prepare.encoding import EncodingOptions
from kinema.prepare.frames import FramesOptions, prepare_frames
from kinema.prepare.pack import PackOptions, prepare_pack
from kinema.prepare.resize import prepare_resize

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
PEER_ON = {"packed": "rawframes", "sparse": "video"}


def prepared(videos: Path, work: Path) -> dict[str, Path]:
    """Folder or list of each form."""
    inside = work / "videos" / "all"
    inside.parent.mkdir(parents=True, exist_ok=True)
    if not inside.exists():
        inside.symlink_to(videos.absolute())
    source = inside.parent
    prepare_resize(source, work / "video", EncodingOptions())
    prepare_resize(source, work / "dense", EncodingOptions(dense=True))
    prepare_frames(work / "video", work / "rawframes", FramesOptions())
    prepare_pack(work / "rawframes", work / "packed", PackOptions(kind="rawframes"))
    prepare_pack(work / "video", work / "sparse", PackOptions(every=8, quality=85))
    lists = {"rawframes": "frames.txt", "packed": "packed.txt", "sparse": "packed.txt"}
    return {form: work / form / lists.get(form, "") for form in ("rawframes", "packed", "video", "dense", "sparse")}


class Peer:
    """MMAction2's training data in its own interpreter."""

    def __init__(self, python: str) -> None:
        script = Path(__file__).with_name("peer_pipeline.py")
        self._process = subprocess.Popen(
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def seconds(self, **request: object) -> float:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return float(json.loads(self._process.stdout.readline())["seconds"])

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def compared(name: str, form: str, place: dict[str, Path], samples: int, peer: Peer) -> dict[str, object]:
    source = {"dense": "video", "sparse": "packed"}.get(form, form)
    keys = {"data.source": source, "data.train": str(place[form])}
    measure = DataMeasure(samples=samples)
    kind = PEER_ON.get(form, form)
    listing, root, count = peer_list(kind, place[kind])
    times: list[tuple[float, float, float]] = []
    for number, (_, ours, limit) in enumerate(measured_batches(RECIPES[name], measure, keys)):
        rows = [(number * measure.batch + k) % count for k in range(measure.batch)]
        request = {"config": PEER_CONFIGS[name], "kind": kind, "list": listing, "root": root}
        theirs = peer.seconds(**request, rows=rows, seed=number)
        if number * measure.batch >= measure.warm_up:
            times.append((ours, limit, theirs / measure.batch))
    ours, limit, theirs = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    return {"model": name, "input": form, "kinema_ms": ours, "limit_ms": limit, "peer_ms": theirs,
            "of_limit": limit / ours, "times_peer": theirs / ours}  # fmt: skip


def peer_list(kind: str, place: Path) -> tuple[str, str, int]:
    """A list of the same videos in MMAction2's form, what its paths start from, and how many they are."""
    if kind == "rawframes":
        return str(place), str(place.parent), len(place.read_text().splitlines())
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
    peer = Peer(options.peer)
    rows = [
        compared(name, form, place, options.samples, peer)
        for name in RECIPES
        for form in options.forms
        if not (form == "sparse" and name == "SlowFast 32x2")
    ]
    peer.close()
    header = ("model", "input", "Kinema ms", "limit ms", "MMAction2 ms", "of the limit", "times MMAction2")
    print(markdown(header, [[v if isinstance(v, str) else f"{v:.2f}" for v in row.values()] for row in rows]))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
