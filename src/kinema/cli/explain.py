"""`kinema explain MODEL VIDEO`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_json, print_table
from kinema.errors import UserError
from kinema.weights.find import find_model

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options:
    """Show where in a video, and when, a recognizer sees a class.

    Where: Grad-CAM of networks with feature maps (Selvaraju et al. 2017), gradient-weighted attention rollout of
    transformers (Abnar & Zuidema 2020, Chefer et al. 2021). When: the probability that the class loses if a part of the
    video is hidden (occlusion, Zeiler & Fergus 2014). By the test clips, each with its centre crop.

    Writes overlay.mp4, strip.png, seconds.png and explanation.json.
    """

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's --work-dir, a folder of its checkpoints, a model.safetensors, or published weights (zoo:NAME or
    hf:ORG/NAME)."""
    video: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """A video file, or a folder of images (the frames of one video); a path or a URL."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Output folder; default: explained/NAME of the video."""
    class_: Annotated[str, tyro.conf.arg(name="class", metavar="LABEL")] = ""
    """Class to explain; default: the most probable one."""
    parts: Annotated[int, Ge(1)] = 16
    """Equal parts of the video that are hidden in turn; each costs a forward pass of all clips."""
    font: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A .ttf, .otf or .ttc font for labels that DejaVu Sans lacks glyphs for, such as Chinese ones."""
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = ""
    """my_file.py:function, if the file of MODEL's own task or network has moved since training."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the model; auto: a GPU if available."""
    json: bool = False
    """Print JSON: {"video", "label", "score", "predictions", "method", "parts": [{"start", "end", "score", "drop"}],
    "frames": [{"time", "heat"}]}, times in seconds; score: with the part hidden, null where the model does not look."""


def run(arguments: Sequence[str]) -> int:
    """Explain, write and print."""
    options = parse(Options, arguments, command="explain")
    find_model(options.model)  # says what is wrong before torch is imported
    from kinema.api import load
    from kinema.report.explanation.content import Explains
    from kinema.report.explanation.draw import write_overlay, write_pictures
    from kinema.report.fonts import check_font, say_missing
    from kinema.storage import display_name, write_text
    from kinema.storage.outputs import cannot_write, check_writable

    check_font(options.font)
    folder = options.output or Path("explained", Path(display_name(options.video)).stem)
    predictor = load(options.model, device=options.device, recipe=options.recipe)
    if not isinstance(predictor, Explains):
        raise UserError(
            f"{options.model}: kinema explain needs a predictor with explanations (`explain()`), which "
            f"{type(predictor).__name__} does not have"
        )
    check_writable(folder / "explanation.json")
    explanation = predictor.explain(options.video, label=options.class_, parts=options.parts)
    say_missing([explanation.label], options.font)
    numbers = explanation.as_json()
    try:
        write_text(folder / "explanation.json", strict_json.dumps(numbers, indent=2) + "\n")
    except OSError as error:
        raise cannot_write(error, folder) from error
    write_pictures(explanation, folder, font=options.font)
    write_overlay(explanation, folder / "overlay.mp4", font=options.font)
    if options.json:
        print_json(numbers, indent=2)
        return 0
    print(f"{explanation.label} {explanation.score:.3f}, by {explanation.method}")
    rows = [
        [f"{part.start:.2f} – {part.end:.2f}", "–" if part.score is None else f"{explanation.score - part.score:+.3f}"]
        for part in explanation.parts
    ]
    print_table(["seconds", "probability lost when hidden"], rows)
    log.info("video, pictures and numbers: %s", folder)
    return 0
