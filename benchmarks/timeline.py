"""Scores along long videos: shares of the limit that decoding or the network sets, and memory by length.

    python benchmarks/timeline.py --out FOLDER [--seconds 20 60 180] [--codecs h264 hevc] [--rounds 3]
        [--device-ms 5 20] [--memory]

The limit is the slower of decoding alone and the network alone. For each video and distance of windows, rounds of
decoding, network and whole alternate in one process, so that all see the same load of the machine: `share` is the
median over rounds of the limit's time by the whole's, in wall-clock seconds. On a machine that is shared, a second
figure does not depend on what else runs: `cpu` is the processor time of decoding and network by that of the whole. One
thread decodes, `--threads` compute. `--device-ms` replaces the network by one that takes so many milliseconds a window
on a device beside the processor, as a GPU does. `--memory` runs `kinema predict` on videos of 1 minute, 30 minutes and
3 hours and notes the peak of the resident memory.
"""

import argparse
import statistics
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from time import perf_counter, process_time, sleep

import av
import numpy as np
import torch

import kinema
from kinema import strict_json
from kinema.config import apply
from kinema.data.streams.files import FileStream
from kinema.data.streams.windows import WindowSampler, WindowSchedule
from kinema.recipes import config_of
from kinema.storage import replacing
from kinema.tasks.timeline.scorer import ScoresClips, clip_scorer, score_stream, score_windows, windows_per_batch
from kinema.weights.model_files import save_model

RECIPE = "tsm_r18_video_1x1x8_small_rgb"
CODECS = {
    "h264": ("libx264", "mp4", {"preset": "veryfast", "crf": "23"}),
    "hevc": ("libx265", "mp4", {"preset": "ultrafast", "x265-params": "log-level=none:pools=1:frame-threads=1"}),
    "vp9": ("libvpx-vp9", "webm", {"deadline": "realtime", "cpu-used": "8", "b": "500k"}),
}
FPS, PART = 25, 10  # seconds that are encoded; longer videos repeat their packets
MINUTES = {"1 min": 1, "30 min": 30, "3 h": 180}


def write_part(path: Path, codec: str, size: tuple[int, int]) -> None:
    """`PART` seconds of moving texture."""
    encoder, _, options = CODECS[codec]
    width, height = size
    texture = np.random.default_rng(0).integers(0, 256, (height // 8 + 40, width // 8 + 40, 3), dtype=np.uint8)
    texture = texture.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.gop_size = 2 * FPS
        stream.codec_context.max_b_frames = 0  # packets can be repeated in their order
        for number in range(PART * FPS):
            down, right = number % 300, number * 2 % 300
            image = np.ascontiguousarray(texture[down : down + height, right : right + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))


def write_video(part: Path, path: Path, seconds: float) -> None:
    """The packets of a part, again and again."""
    if path.exists():
        return
    with av.open(str(part)) as source:
        packets = [(bytes(one), one.is_keyframe) for one in source.demux(video=0) if one.size]
        with replacing(path) as temporary, av.open(str(temporary), "w", format=path.suffix[1:]) as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for number in range(round(seconds * FPS)):
                data, key = packets[number % len(packets)]
                packet = av.Packet(data)
                packet.stream, packet.is_keyframe, packet.time_base = stream, key, Fraction(1, FPS)
                packet.pts = packet.dts = number
                packet.duration = 1
                target.mux(packet)


def write_model(folder: Path, **options: str) -> Path:
    """A model with random weights."""
    torch.manual_seed(0)
    classes = ("one", "two", "three")
    config = apply(config_of(RECIPE), {"model.num_classes": 3, **options})
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, config.model.build().state_dict(), config.describe(classes))
    return folder


def timed(work) -> tuple[float, float]:
    wall, cpu = perf_counter(), process_time()
    work()
    return perf_counter() - wall, process_time() - cpu


class Elsewhere:
    """A predictor whose network runs on another device: time passes, the processor is idle."""

    def __init__(self, predictor: ScoresClips, seconds: float) -> None:
        self._predictor, self._seconds = predictor, seconds

    def __getattr__(self, name: str):
        return getattr(self._predictor, name)

    def clip_scores(self, clips: torch.Tensor) -> torch.Tensor:
        sleep(self._seconds * len(clips))
        return torch.full((len(clips), len(self._predictor.classes)), 1 / 3)


def measure(predictor: ScoresClips, video: Path, every: float, rounds: int) -> dict[str, object]:
    schedule = WindowSchedule(every=every, window=2.0)
    views, fps = predictor.views("val"), float(FPS)
    batch = windows_per_batch(predictor, schedule, "val", fps=fps)
    counted = [0]

    def stream() -> FileStream:
        return FileStream(str(video), path=str(video), threads=1)

    def decode() -> None:
        counted[0] = sum(1 for _ in WindowSampler(schedule, views, fps=fps).windows(stream()))

    sampler = WindowSampler(schedule, views, fps=fps)
    some = [window for _, window in zip(range(batch), sampler.windows(stream()), strict=False)]

    def network() -> None:
        for start in range(0, counted[0], batch):
            score_windows(predictor, some[: min(batch, counted[0] - start)])

    def whole() -> None:
        assert sum(1 for _ in score_stream(predictor, stream(), schedule)) == counted[0]

    for warm_up in (decode, network):
        warm_up()
    times = {name: [] for name in ("decode", "network", "whole")}
    for _ in range(rounds):
        for work in (decode, network, whole):
            times[work.__name__].append(timed(work))
    by_round = list(zip(*times.values(), strict=True))
    return {
        "video": video.name,
        "every": every,
        "windows": counted[0],
        **{f"{name}_s": round(statistics.median(wall for wall, _ in found), 2) for name, found in times.items()},
        "share": round(statistics.median(max(d[0], n[0]) / w[0] for d, n, w in by_round), 3),
        "cpu": round(statistics.median((d[1] + n[1]) / w[1] for d, n, w in by_round), 3),
    }


def memory(model: Path, video: Path) -> dict[str, object]:
    """Peak memory of `kinema predict` in a process of its own."""
    code = (
        "import resource, sys; from kinema.cli import main; code = main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
    )
    output = video.with_suffix(".csv")
    output.unlink(missing_ok=True)
    command = ["predict", str(model), str(video), "--every", "2", "--output", str(output), "--device", "cpu"]
    began = perf_counter()
    ran = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    lines = sum(1 for _ in output.open())
    mib = int(ran.stderr.split()[-1]) / 2**10
    return {"video": video.name, "windows": lines - 1, "peak_mib": round(mib), "s": round(perf_counter() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, nargs="*", default=[20, 60, 180])
    parser.add_argument("--codecs", nargs="*", default=["h264", "hevc"], choices=[*CODECS])
    parser.add_argument("--every", type=float, nargs="*", default=[0.5, 4.0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device-ms", type=float, nargs="*", default=[])
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    model = write_model(out / "model")
    own = clip_scorer(kinema.load(model, device="cpu"))
    predictors = {f"{ms:g} ms": Elsewhere(own, ms / 1000) for ms in arguments.device_ms} or {RECIPE: own}
    for codec in arguments.codecs:
        suffix = CODECS[codec][1]
        part = out / f"part_{codec}.{suffix}"
        if not part.exists():
            write_part(part, codec, (340, 256))
        for seconds in arguments.seconds:
            video = out / f"{codec}_{seconds:g}s.{suffix}"
            write_video(part, video, seconds)
            for every in arguments.every:
                for name, predictor in predictors.items():
                    row = {"network": name, **measure(predictor, video, every, arguments.rounds)}
                    print(strict_json.dumps(row), flush=True)
    if arguments.memory:
        small = write_model(out / "small_model", **{"model.width": "8", "data.val_views.crops.size": "32"})
        write_part(out / "part_small.mp4", "h264", (96, 64))
        for name, minutes in MINUTES.items():
            video = out / f"long_{minutes}min.mp4"
            write_video(out / "part_small.mp4", video, 60 * minutes)
            print(strict_json.dumps({"length": name, **memory(small, video)}), flush=True)


if __name__ == "__main__":
    main()
