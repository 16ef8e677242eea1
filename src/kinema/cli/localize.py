"""`kinema localize MODEL VIDEO…`."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from kinema.api import load_localizer
from kinema.cli.arguments import OPTION_NAMES, parse
from kinema.console import print_json, print_table, printable, progress
from kinema.data.lists.inputs import Input, check_outputs, find_inputs, output_paths, short_names
from kinema.errors import MediaError, UserError, renamed_options
from kinema.report.fonts import check_font, say_missing
from kinema.storage import display_name
from kinema.tasks.localization.video.localize import Localization, LocalizeOptions, VideoLocalizer
from kinema.tasks.localization.video.results_file import Localizations
from kinema.tasks.localization.video.timeline import draw_timeline
from kinema.weights.model_files import find_model

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(LocalizeOptions):
    """Detect actions in raw videos: extract features, propose segments and classify them, best first.

    Unreadable videos are reported and skipped, and the exit code is 2. Results are printed as they are computed; with
    --output, the same command continues after an interruption.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A BMN, or a run of BSN's three stages: a --work-dir, a folder of checkpoints, or a model.safetensors."""
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
    check_font(options.font)
    find_model(options.model)  # says what is wrong before folders are searched
    inputs = find_inputs(options.videos)
    names, plots = short_names(inputs), _plots(inputs, options.plot)
    own = {field.name: getattr(options, field.name) for field in fields(LocalizeOptions)}
    localizer = load_localizer(options.model, LocalizeOptions(**own))
    if options.plot is not None:
        say_missing([*localizer.classes, *(Path(video.path).name for video in inputs)], options.font)
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
                picture = plots.get(video)
                _localize(localizer, video, names[video], found, picture, font=options.font, show=not options.json)
                meter.advance()
    finally:  # also where it is interrupted
        if options.json:
            print_json(found.layout(), indent=2)
    return 0 if len(found) == len(inputs) else 2


def _localize(
    localizer: VideoLocalizer,
    video: Input,
    name: str,
    found: Localizations,
    plot: Path | None,
    *,
    font: Path | None,
    show: bool,
) -> None:
    """Localize one video unless its results exist; log it if unreadable."""
    if name in found and (plot is None or plot.exists()):
        return
    try:
        answer = localizer.localize(video.path)
        if plot is not None:
            title = printable(display_name(video.path))
            draw_timeline(answer, plot, video=localizer.open(video.path), title=title, font=font)
    except MediaError as error:
        log.error("cannot be read: %s", renamed_options(str(error), OPTION_NAMES["localize"]))
        return
    found.add(name, answer)
    if show:
        _print(name, answer)


def _plots(inputs: Sequence[Input], plot: Path | None) -> Mapping[Input, Path]:
    """Return the path of each input's timeline.

    Raises:
        UserError: `plot` is one file and there are several inputs, or has another suffix than .png.
    """
    if plot is None:
        return {}
    if not plot.suffix or plot.is_dir():
        return output_paths(inputs, plot, ".png")
    if plot.suffix.lower() != ".png":
        raise UserError(f"--plot {plot}: found '{plot.suffix}'; allowed: .png, or a folder")
    if len(inputs) > 1:
        raise UserError(f"--plot {plot} is one file, but there are {len(inputs)} videos: name a folder")
    check_outputs(inputs, [plot], option="--plot")
    return dict.fromkeys(inputs, plot)


def _print(name: str, answer: Localization) -> None:
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
