"""`kinema predict MODEL VIDEO…`."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table, progress
from kinema.errors import MediaError, UserError
from kinema.inference.prediction import Prediction
from kinema.inference.predictor import find_videos, load
from kinema.inference.render import check_suffix, render_prediction

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options:
    """Say what happens in videos.

    A video that cannot be read is named, the others are answered, and the exit code is 2.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's --work-dir, a folder of its checkpoints, or a model.safetensors."""
    videos: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """Video files, folders of them, or folders of images (the frames of one video)."""
    top: int = 5
    """How many classes to name."""
    json: bool = False
    """Print JSON: [{"video", "predictions": [{"label", "score"}]}]."""
    render: Annotated[Path | None, tyro.conf.arg(metavar="MP4")] = None
    """Write the video with the answer drawn on it to this file; for several videos, to files in this folder."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the model runs; auto: on a GPU when there is one."""


def run(arguments: Sequence[str]) -> int:
    """Predict and print."""
    options = parse(Options, arguments, command="predict")
    if not options.videos:
        raise UserError("which videos? kinema predict MODEL VIDEO…")
    if options.top < 1:
        raise UserError(f"--top {options.top}: at least 1 class can be named")
    if options.render is not None and options.render.suffix:
        check_suffix(options.render)
    predictor = load(options.model, device=options.device)
    # Each video once, with the path that its rendering gets.
    videos = {video: _target(options.render, place, video) for place in options.videos for video in find_videos(place)}
    if len(videos) > 1 and options.render is not None and options.render.suffix:
        raise UserError(f"--render {options.render} is one file, but there are {len(videos)} videos: name a folder")
    answers: dict[Path, list[Prediction]] = {}
    with progress("predicting", len(videos)) as meter:
        for video, target in videos.items():
            try:
                answers[video] = predictor.predict(video, top=options.top)
                if target is not None:
                    render_prediction(predictor.open(video), answers[video], target)
            except MediaError as error:
                log.error("cannot be read: %s", error)
            meter.advance()
    if options.render is not None:
        log.info("rendered: %s", options.render)
    if options.json:
        print(strict_json.dumps(_as_json(answers), indent=2, ensure_ascii=False))
    else:
        _print(answers)
    return 0 if len(answers) == len(videos) else 2


def _target(render: Path | None, place: Path, video: Path) -> Path | None:
    """Where the rendering of `video`, found in `place`, goes: to the file `render`, or below it if it is a folder."""
    if render is None or render.suffix:
        return render
    return (render / (video.relative_to(place) if video != place else video.name)).with_suffix(".mp4")


def _as_json(answers: dict[Path, list[Prediction]]) -> list[dict[str, object]]:
    return [{"video": str(video), "predictions": [asdict(one) for one in best]} for video, best in answers.items()]


def _print(answers: dict[Path, list[Prediction]]) -> None:
    rows = [(str(video), *(f"{one.label} {one.score:.3f}" for one in best)) for video, best in answers.items()]
    print_table([""] * len(rows[0]) if rows else [], rows)
