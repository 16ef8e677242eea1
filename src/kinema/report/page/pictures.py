"""Sections of the pictures that a task's validations leave behind, such as reconstructions."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from kinema.errors import UserError
from kinema.report.page.content import Picture, Pictures, ReportedRun, Section

FOLDER = "pictures"
"""Folder of a run's pictures, `NAME_STEP.png`."""

_QUALITY = 88
_MOST = 6
_LARGEST = 1600
"""Longest side in pixels; larger pictures are reduced."""


def validation_pictures(tested: ReportedRun, leads: Mapping[str, str] | None = None) -> list[Section]:
    """Return a section for each kind of picture of a run's validations: the first, the last, and some between.

    Args:
        tested: The run; half of its `max_clips` pictures are shown at most, and not more than 6.
        leads: What a kind of picture shows, by its name.

    Raises:
        UserError: A picture is damaged.
    """
    files = dict[str, list[tuple[int, Path]]]()
    for file in sorted((tested.run / FOLDER).glob("*_*.png")):
        name, _, step = file.stem.rpartition("_")
        if step.isdecimal():
            files.setdefault(name, []).append((int(step), file))
    most, sections = min(_MOST, tested.max_clips // 2), list[Section]()
    for name, of_name in files.items() if most else ():
        of_name.sort()
        chosen = np.unique(np.linspace(len(of_name) - 1, 0, most).round().astype(int))
        pictures = [_picture(file, _caption(step, tested)) for step, file in (of_name[i] for i in chosen)]
        title = name.replace("_", " ").capitalize()
        blocks = [Pictures(title=title, pictures=pictures)]
        sections.append(Section(title=title, lead=(leads or {}).get(name, ""), blocks=blocks))
    return sections


def _caption(step: int, tested: ReportedRun) -> str:
    row = next((row for row in tested.validation if row["step"] == step), None)
    if row is None:
        return f"after step {step:,}"
    loss = f", validation loss {row['loss']:.4g}" if "loss" in row else ""
    return f"after epoch {row['epoch']:.4g}{loss}"


def _picture(file: Path, caption: str) -> Picture:
    try:
        with Image.open(file) as image:
            picture = image.convert("RGB")
    except OSError as error:
        raise UserError(f"{file} is damaged: {error}") from error
    picture.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=_QUALITY, subsampling=0)
    return Picture(caption=caption, content=content.getvalue(), size=picture.size)
