"""Scores of many short videos: shares of the limit that decoding or the network sets, for `predict` and `test`.

    python benchmarks/predict.py --out FOLDER [--videos FOLDER] [--count 50] [--rounds 3] [--recipes RECIPE …]
        [--threads 1] [--device-ms 20] [--crops center]

The limit is the slower of decoding alone and the network alone. Rounds of decoding, network, `predict` of each video,
`predict` of a list of them and `test` with 0 and 1 loader workers alternate in one process, so that all see the same
load of the machine.
`share` is the median over rounds of the limit's time by the whole's, in wall-clock seconds; `cpu` is the processor time
of decoding and network by that of the whole, which does not depend on what else runs. Models are loaded, videos are in
the page cache; the start of a loader worker is part of `test`. One thread decodes, `--threads` compute. `--device-ms`
replaces the network by one that takes so many milliseconds a video on a device beside the processor, as a GPU does.
"""

import argparse
import statistics
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from time import perf_counter, sleep
from typing import Any

import torch
from torch import Tensor, nn

import kinema
from kinema import strict_json
from kinema.benchmark.inputs.videos import draw_videos
from kinema.config import apply
from kinema.data.dataset import open_val_index
from kinema.data.lists.class_folders import VIDEO_SUFFIXES
from kinema.data.views import read_views
from kinema.recipes import config_of
from kinema.runtime.processes import Process
from kinema.tasks.recognition.evaluation.evaluate import evaluate, evaluation_batches
from kinema.tasks.recognition.predictor import RecognizerPredictor
from kinema.weights.model_files import save_model

RECIPES = ("tsm_r18_video_1x1x8_small_rgb", "tsm_r50_1x1x8_50e_kinetics400_rgb")
FRAMES = 150  # of a drawn video, 5 seconds


def write_model(folder: Path, recipe: str, options: dict[str, str]) -> Path:
    """A model with random weights."""
    torch.manual_seed(0)
    config = apply(config_of(recipe), {"model.num_classes": "3", "data.source": "video", **options})
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, config.model.build().state_dict(), config.describe(("one", "two", "three")))
    return folder


class Elsewhere(nn.Module):
    """A network on another device, `seconds` for a view: time passes, the processor is idle."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def forward(self, clips: Tensor) -> Tensor:
        sleep(self._seconds * len(clips))
        return torch.zeros(len(clips), 3)


def processor_time() -> float:
    """Seconds of this process and of its children that have ended."""
    return sum(used.ru_utime + used.ru_stime for used in map(getrusage, (RUSAGE_SELF, RUSAGE_CHILDREN)))


def timed(work: Callable[[], object]) -> tuple[float, float]:
    wall, cpu = perf_counter(), processor_time()
    work()
    return perf_counter() - wall, processor_time() - cpu


def measure(predictor: RecognizerPredictor, videos: list[Path], listing: Path, rounds: int) -> dict[str, object]:
    data = predictor.description.data
    views = data.test_views
    some = read_views(predictor.open(videos[0]), views)[None]

    def decode() -> None:
        for video in videos:
            read_views(predictor.open(video), views)

    def network() -> None:
        for _ in videos:
            predictor.clip_scores(some)

    def predict() -> None:
        assert len(predictor.predict(videos)) == len(videos)

    def one_by_one() -> None:
        for video in videos:
            predictor.predict(video)

    def test(workers: int) -> None:
        process = Process(device=torch.device("cpu"))
        data.val, data.workers = str(listing), workers
        index = open_val_index(data, predictor.classes, labels="single")
        found = evaluate(
            predictor._model,
            evaluation_batches(index, views, data, process),
            num_classes=len(predictor.classes),
            task=predictor.description.task,
            runtime=predictor._runtime,
            process=process,
        )
        assert found.metrics["videos"] == len(videos)

    works = {
        "decode": decode,
        "network": network,
        "one_by_one": one_by_one,
        "predict": predict,
        "test_0": lambda: test(0),
        "test_1": lambda: test(1),
    }
    network()  # warms up
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(timed(work))
    answer: dict[str, object] = {}
    for name, found in times.items():
        wall, cpu = (1000 * statistics.median(values) / len(videos) for values in zip(*found, strict=True))
        answer[f"{name}_ms"], answer[f"{name}_cpu_ms"] = round(wall, 1), round(cpu, 1)
    for name in [*works][2:]:
        by_round = list(zip(times["decode"], times["network"], times[name], strict=True))
        answer[f"{name}_share"] = round(statistics.median(max(d[0], n[0]) / w[0] for d, n, w in by_round), 3)
        answer[f"{name}_cpu"] = round(statistics.median((d[1] + n[1]) / w[1] for d, n, w in by_round), 3)
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--videos", type=Path, help="a folder of videos; by default synthetic ones of 340x256")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--recipes", nargs="*", default=RECIPES)
    parser.add_argument("--crops", default="", help="center, three, ten or whole; by default the recipe's")
    parser.add_argument("--device-ms", type=float, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    folder = arguments.videos
    if folder is None:
        draw_videos(folder := out / "drawn", count=8, frames=FRAMES)
    found = sorted(path for path in folder.rglob("*") if path.suffix in VIDEO_SUFFIXES)
    videos = list(islice(cycle(found), arguments.count))
    listing = out / "videos.txt"
    listing.write_text("".join(f"{video.absolute()} {number % 3}\n" for number, video in enumerate(videos)))
    for recipe in arguments.recipes:
        options = {"data.test_views.crops.crops": arguments.crops} if arguments.crops else {}
        predictor = kinema.load(write_model(out / recipe, recipe, options), device="cpu")
        assert isinstance(predictor, RecognizerPredictor)
        row: dict[str, Any] = {"recipe": recipe, "views": predictor.description.data.test_views.shape}
        if arguments.device_ms:
            row["device_ms"] = arguments.device_ms
            predictor._model = Elsewhere(arguments.device_ms / 1000 / row["views"][0])
        row |= measure(predictor, videos, listing, arguments.rounds)
        print(strict_json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
