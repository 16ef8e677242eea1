"""`kinema predict MODEL VIDEO…`."""

import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from annotated_types import Ge, Interval

from kinema.cli.arguments import OPTION_NAMES, parse
from kinema.console import cell_len, print_json, printable, progress
from kinema.data.streams.live.address import is_live
from kinema.errors import MediaError, UserError, renamed_options
from kinema.prediction import Prediction, at_least
from kinema.report.answers import AnswerFile, check_suffix

if TYPE_CHECKING:
    from kinema.data.lists.inputs import Input
    from kinema.training.task import Predictor

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options:
    """Classify videos, as a whole or along the time (--every).

    Live streams have options of their own: rtsp://…, http(s)://… with --live, /dev/video0 (a webcam, untested), or -
    for standard input; see kinema predict --live --help.

    Unreadable videos are reported and skipped, and the exit code is 2. Predictions are printed, and written to
    --output, as they are computed; with --output, the same command continues after an interruption.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's --work-dir, a folder of its checkpoints, a model.safetensors, published weights (zoo:NAME or
    hf:ORG/NAME), or an exported file."""
    videos: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """Video files, folders of them at any depth, or folders of images (the frames of one video); paths or URLs."""
    top: Annotated[int, Ge(1)] = 5
    """Number of classes to print."""
    min_score: Annotated[float, Interval(ge=0, le=1), tyro.conf.arg(metavar="SCORE")] = 0.0
    """Leave out classes of a lower score; if none is left, the answer is "none of these", with the best score (in JSON
    the label null). `kinema calibrate` makes scores comparable to the share of right answers."""
    every: Annotated[float | None, tyro.conf.arg(metavar="SECONDS")] = None
    """Classify windows along the video, one every so many seconds, instead of the video as a whole. It is decoded once;
    memory does not depend on its length."""
    window: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 2.0
    """Length of a window; for --every."""
    views: Literal["val", "test"] = "val"
    """Clips and crops of a window: those of a validation video (mostly one clip, one crop) or those of a test video,
    which are several times slower; for --every."""
    json: bool = False
    """Print JSON: [{"video", "predictions": [{"label", "score"}]}]; with --every, a line for each window as it comes:
    {"video", "start", "end", "scores": {class: score}}, times in seconds; with --min-score also "predictions"."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="CSV|JSONL")] = None
    """Append a line for each video to this file: columns video, label_1, score_1, …, weights in a .csv; {"video",
    "predictions", "weights"} in a .jsonl. Videos that it already contains are skipped. With --every, a line for each
    window: columns video, start, end, one for each class, origin; {"video", "start", "end", "scores", "origin"}; with
    --min-score also label and score of the best one, or "predictions". It is continued where it ends."""
    timeline: Annotated[Path | None, tyro.conf.arg(metavar="PNG")] = None
    """Draw the scores along the video to this file; for several videos, to files in this folder with their names and
    subfolders; for --every."""
    render: Annotated[Path | None, tyro.conf.arg(metavar="MP4")] = None
    """Write the video with the predictions drawn on it to this file; for several videos, to files in this folder with
    their names and subfolders. With --every, the scores along the video are drawn under it."""
    fps: Annotated[float, Ge(0), tyro.conf.arg(metavar="RATE")] = 0.0
    """Frames per second of folders of images, which do not say it; for --every."""
    font: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A .ttf, .otf or .ttc font for labels that DejaVu Sans lacks glyphs for, such as Chinese ones; for --render and
    --timeline."""
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = ""
    """my_file.py:function, if the file of MODEL's own task or network has moved since training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the model; auto: a GPU if available."""


def run(arguments: Sequence[str]) -> int:
    """Predict and print."""
    if "--live" in arguments or any(map(is_live, arguments)):
        from kinema.cli.live import run as run_live

        return run_live(arguments)
    options = parse(Options, arguments, command="predict")
    if not options.videos:
        raise UserError("pass at least one video: kinema predict MODEL VIDEO…")
    if options.output is not None:
        check_suffix(options.output)
    if options.every is not None:
        from kinema.cli.timeline import run_timelines

        return run_timelines(options)
    _check_alone(options)
    from kinema.data.lists.inputs import find_inputs, output_files
    from kinema.report.fonts import check_font, say_missing
    from kinema.weights.find import find_model

    check_font(options.font)
    find_model(options.model)  # says what is wrong before folders are searched
    inputs = find_inputs(options.videos)
    from kinema.api import load
    from kinema.report.render import SUFFIXES

    targets = output_files(inputs, options.render, SUFFIXES, option="--render")
    predictor = load(options.model, device=options.device, recipe=options.recipe)
    if options.render is not None:
        say_missing(predictor.classes, options.font)
    answers: dict[str, list[Prediction]] = {}
    width = max(cell_len(printable(video.shown)) for video in inputs)
    try:
        with closing(_answers(predictor, inputs, targets, options)) as found:
            for video, best, is_new in found:
                answers[video.shown] = best
                if is_new and not options.json:
                    path = printable(video.shown)
                    labels = (f"{printable(one.text)} {one.score:.3f}" for one in best)
                    print("  ".join([path + " " * (width - cell_len(path)), *labels]), flush=True)
    finally:  # also where it is interrupted
        if options.json:
            rows = [{"video": video, "predictions": [one.as_json() for one in best]} for video, best in answers.items()]
            print_json(rows, indent=2)
    if options.render is not None:
        log.info("rendered: %s", options.render)
    return 0 if len(answers) == len(inputs) else 2


def _check_alone(options: Options) -> None:
    """Check that no option of --every is given without it."""
    for name in ("window", "views", "timeline", "fps"):
        if getattr(options, name) != getattr(Options, name):
            raise UserError(f"--{name} is for --every: pass --every SECONDS, the distance of answers along the video")


def _answers(
    predictor: "Predictor", inputs: "Sequence[Input]", targets: "Mapping[Input, Path]", options: Options
) -> "Generator[tuple[Input, list[Prediction], bool], None, None]":
    """Yield predictions and whether they are new, and write the requested outputs."""
    from kinema.report.render import render_prediction
    from kinema.weights.model_files import scores_digest

    file: AbstractContextManager[AnswerFile | None] = nullcontext()
    if options.output is not None:
        top = min(options.top, len(predictor.classes))
        origin = scores_digest(predictor.folder) + (f" min-score {options.min_score:g}" if options.min_score else "")
        file = AnswerFile(options.output, weights=origin, top=top, fewer=bool(options.min_score))
    with file as kept, progress("predicting", len(inputs)) as meter:
        known = {} if kept is None else dict(kept.answers)
        if answered := sum(video.shown in known for video in inputs):
            log.info("%s has the answers of %d of %d videos", options.output, answered, len(inputs))
        new = [video.path for video in inputs if video.shown not in known]
        with closing(_in_turn(predictor, new, options.top)) as computed:
            for video in inputs:
                best, target = known.get(video.shown), targets.get(video)
                try:
                    if is_new := best is None:
                        best = at_least(_raised(next(computed)), options.min_score)
                    if target is not None and not (target.exists() and not is_new):
                        render_prediction(predictor.open(video.path), best, target, font=options.font)
                except MediaError as error:
                    log.error("cannot be read: %s", renamed_options(str(error), OPTION_NAMES["predict"]))
                else:
                    if is_new and kept is not None:
                        kept.add(video.shown, best)
                    yield video, best, is_new
                meter.advance()


def _in_turn(
    predictor: "Predictor", videos: Sequence[str], top: int
) -> "Generator[list[Prediction] | MediaError, None, None]":
    """Yield the predictions of each video, or why it cannot be read."""
    from kinema.training.task import PredictsEach

    if isinstance(predictor, PredictsEach):
        yield from predictor.predict_each(videos, top=top)
        return
    for video in videos:
        try:
            answer: list[Prediction] | MediaError = predictor.predict(video, top=top)
        except MediaError as error:
            answer = error
        yield answer


def _raised(answer: list[Prediction] | MediaError) -> list[Prediction]:
    """Return the predictions.

    Raises:
        MediaError: there are none.
    """
    if isinstance(answer, MediaError):
        raise answer
    return answer
