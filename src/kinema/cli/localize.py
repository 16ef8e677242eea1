"""`kinema localize MODEL VIDEO…`."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import tyro

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table, progress
from kinema.errors import MediaError, UserError
from kinema.inference.localize import Localization, LocalizeOptions, VideoLocalizer
from kinema.inference.predictor import find_videos
from kinema.inference.timeline import draw_timeline
from kinema.localization.labelling import Detections, results_layout, write_results

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(LocalizeOptions):
    """Say what happens when in raw videos: features, segments proposed from them, a label for each; best first.

    A video that cannot be read is named, the others are answered, and the exit code is 2.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A BMN, or a run of BSN's three stages: a --work-dir, a folder of checkpoints, or a model.safetensors."""
    videos: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """Video files, folders of them, or folders of images (the frames of one video)."""
    json: bool = False
    """Print JSON, in ActivityNet's layout of results: {"version", "results": {video: [{"segment", "score", "label"}]},
    "external_data"}; times in seconds."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="JSON")] = None
    """Write the same to this file."""
    plot: Annotated[Path | None, tyro.conf.arg(metavar="PNG")] = None
    """Draw a timeline into this file; for several videos, into files in this folder."""


def run(arguments: Sequence[str]) -> int:
    """Localize and print."""
    options = parse(Options, arguments, command="localize")
    if not options.videos:
        raise UserError("which videos? kinema localize MODEL VIDEO…")
    videos = {video: place for place in options.videos for video in find_videos(place)}
    names = _names(list(videos))
    if options.plot is not None and options.plot.suffix and len(videos) > 1:
        raise UserError(f"--plot {options.plot} is one file, but there are {len(videos)} videos: name a folder")
    own = {field.name: getattr(options, field.name) for field in fields(LocalizeOptions)}
    localizer = VideoLocalizer(options.model, LocalizeOptions(**own))
    answers: dict[str, Localization] = {}
    with progress("localizing", len(videos)) as meter:
        for video, name in zip(videos, names, strict=True):
            try:
                answers[name] = localizer.localize(video)
                if options.plot is not None:
                    target = options.plot if options.plot.suffix else options.plot / f"{Path(name).name}.png"
                    draw_timeline(answers[name], target, video=localizer.open(video), title=video.name)
            except MediaError as error:
                log.error("cannot be read: %s", error)
            meter.advance()
    found = {name: answer.found for name, answer in answers.items()}
    if options.output is not None:
        write_results(options.output, found, localizer.classes)
    if options.json:
        print(strict_json.dumps(results_layout(found, localizer.classes), indent=2, ensure_ascii=False))
    else:
        _print(answers)
    return 0 if len(answers) == len(videos) else 2


def _names(videos: list[Path]) -> list[str]:
    """What videos are called in results: without folder and ending, as ground truths call them, if these differ."""
    names = [video.stem if video.is_file() else video.name for video in videos]
    return names if len(set(names)) == len(names) else [str(video) for video in videos]


def _print(answers: Mapping[str, Localization]) -> None:
    for video, answer in answers.items():
        print(video)
        found = answer.found
        labels = [answer.classes[label] for label in found.labels] if isinstance(found, Detections) else None
        print_table(
            [""] * 3,
            [
                (f"{start:.1f} – {end:.1f} s", labels[row] if labels else "", f"{score:.3f}")
                for row, ((start, end), score) in enumerate(zip(found.segments, found.scores, strict=True))
            ],
        )
