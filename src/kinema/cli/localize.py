"""`kinema localize MODEL VIDEO…`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from kinema.cli.arguments import OPTION_NAMES, parse
from kinema.console import print_json, print_table, printable, progress
from kinema.errors import MediaError, UserError, renamed_options
from kinema.storage import display_name
from kinema.tasks.localization.video.options import LocalizeOptions

if TYPE_CHECKING:
    from kinema.tasks.localization.video.localize import Localization, Localizer

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(LocalizeOptions):
    """Detect actions in raw videos: extract features, propose segments and classify them, best first.

    A recognizer alone, which needs no further training, classifies windows along the video: segments are where its
    smoothed scores exceed thresholds (--curve).

    Unreadable videos are reported and skipped, and the exit code is 2. Results are printed as they are computed; with
    --output, the same command continues after an interruption.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A BMN, ActionFormer or TriDet, a run of BSN's three stages, or a recognizer: a --work-dir, a folder of
    checkpoints, a model.safetensors, published weights (zoo:NAME), or an exported file."""
    videos: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """Video files, folders of them at any depth, or folders of images (the frames of one video); paths or URLs."""
    json: bool = False
    """Print JSON in ActivityNet's result format: {"version", "results": {video: [{"segment", "score", "label"}]},
    "external_data"}; times in seconds."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="JSON")] = None
    """Write the JSON to this file. Its results of the same videos, models and options are kept, others replaced."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="PNG")] = None
    """Draw a timeline to this file; for several videos, to files in this folder with their names and subfolders."""
    font: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A .ttf, .otf or .ttc font for labels that DejaVu Sans lacks glyphs for, such as Chinese ones; for --plot."""


def run(arguments: Sequence[str]) -> int:
    """Localize and print."""
    options = parse(Options, arguments, command="localize")
    if not options.videos:
        raise UserError("pass at least one video: kinema localize MODEL VIDEO…")
    from kinema.data.lists.inputs import find_inputs, output_files, short_names
    from kinema.report.fonts import check_font, say_missing
    from kinema.weights.find import find_model

    check_font(options.font)
    find_model(options.model)  # says what is wrong before folders are searched
    inputs = find_inputs(options.videos)
    from kinema.api import load_localizer
    from kinema.tasks.localization.video.results_file import Localizations

    names, plots = short_names(inputs), output_files(inputs, options.plot, (".png",), option="--plot")
    own = {field.name: getattr(options, field.name) for field in fields(LocalizeOptions)}
    localizer = load_localizer(options.model, LocalizeOptions(**own))
    if options.plot is not None:
        say_missing([*localizer.classes, *(display_name(video.path) for video in inputs)], options.font)
    found = Localizations(
        options.output,
        origin=localizer.origin,
        classes=localizer.classes,
        videos={names[video]: video.path for video in inputs},
    )
    if len(found):
        log.info("%s has the answers of %d of %d videos", options.output, len(found), len(inputs))
    try:
        with found, progress("localizing", len(inputs)) as meter:
            for video in inputs:
                plot = plots.get(video)
                if names[video] not in found or (plot is not None and not plot.exists()):
                    try:
                        answer = _localize(localizer, video.path, plot, options.font)
                    except MediaError as error:
                        log.error("cannot be read: %s", renamed_options(str(error), OPTION_NAMES["localize"]))
                    else:
                        found.add(names[video], answer)
                        if not options.json:
                            _print(names[video], answer)
                meter.advance()
    finally:  # also where it is interrupted
        if options.json:
            print_json(found.layout(), indent=2)
    return 0 if len(found) == len(inputs) else 2


def _localize(localizer: "Localizer", video: str, plot: Path | None, font: Path | None) -> "Localization":
    """Localize a video, and draw its timeline to `plot`."""
    from kinema.tasks.localization.video.timeline import draw_timeline

    answer = localizer.localize(video)
    if plot is not None:
        title = printable(display_name(video))
        draw_timeline(answer, plot, video=localizer.open(video), title=title, font=font)
    return answer


def _print(name: str, answer: "Localization") -> None:
    found = answer.found
    labels = None if found.labels is None else [answer.classes[label] for label in found.labels]
    print(printable(name))
    print_table(
        [""] * 3,
        [
            (f"{start:.1f} – {end:.1f} s", labels[row] if labels else "", f"{score:.3f}")
            for row, ((start, end), score) in enumerate(zip(found.segments, found.scores, strict=True))
        ],
    )
