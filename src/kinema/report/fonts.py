"""Fonts for labels in any script: DejaVu Sans (Latin, Greek, Cyrillic, Arabic), and a font file of the user."""

import logging
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from kinema.errors import UserError

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

log = logging.getLogger(__name__)

Color = tuple[int, ...]

_DEFAULT = "DejaVu Sans"
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")  # Unicode categories without glyphs
_MAX_LISTED = 8  # missing characters in a warning


def check_font(file: Path | None) -> None:
    """Raise UserError if `file` is given and is not a font."""
    if file is None:
        return
    if not file.is_file():
        raise UserError(f"--font: no file '{file}'")
    from matplotlib.ft2font import FT2Font
    from PIL import ImageFont

    try:
        FT2Font(str(file))
        ImageFont.truetype(file)
    except (OSError, RuntimeError):
        raise UserError(f"--font: '{file}' is not a font; allowed: .ttf, .otf and .ttc files") from None


def say_missing(texts: Iterable[str], file: Path | None) -> None:
    """Warn once of all characters of `texts` that neither DejaVu Sans nor the font `file` has."""
    text = "".join(texts)
    missing = sorted(set.intersection(*(_missing(text, font) for font in _files(bold=False, user=file))))
    if missing:
        listed = "".join(missing[:_MAX_LISTED]) + "…" * (len(missing) > _MAX_LISTED)
        fonts = f"{_DEFAULT} and {file} have" if file else f"{_DEFAULT} has"
        log.warning(
            "%s no glyphs for %d characters of the labels (%s), which are drawn as boxes: pass --font FILE.ttf, such "
            "as Noto Sans of that script",
            fonts,
            len(missing),
            listed,
        )


def font_for(text: str, size: int, *, bold: bool = False, file: Path | None = None) -> "FreeTypeFont":
    """Return the Pillow font for `text`: DejaVu Sans, unless the font `file` has more of its glyphs."""
    best = min(_files(bold=bold, user=file), key=lambda font: len(_missing(text, font)))
    return _font(best, size)


def length_of(text: str, font: "FreeTypeFont", *, file: Path | None = None) -> float:
    """Return the length in pixels of what `write` draws."""
    return sum(part_font.getlength(part) for part, part_font in _parts(text, font, file))


def write(
    draw: "ImageDraw", corner: tuple[float, float], text: str, font: "FreeTypeFont", *, fill: Color, anchor: str,
    file: Path | None = None,
) -> None:  # fmt: skip
    """Draw text in `font`, and characters that it lacks in DejaVu Sans or the font `file`, where one of them has those.

    Args:
        draw: of the image.
        corner: x and y.
        text: a line.
        font: of `font_for`.
        fill: its color.
        anchor: `lm` or `ls`: `corner` is at the left, in the middle of the line or at the foot of the letters.
        file: font file of the user.
    """
    parts, (x, y) = _parts(text, font, file), corner
    if len(parts) == 1:
        draw.text(corner, text, fill=fill, font=parts[0][1], anchor=anchor)
        return
    if anchor == "lm":  # fonts differ in their middles: all letters stand on one line
        ascent, descent = font.getmetrics()
        y += (ascent - descent) / 2
    for part, part_font in parts:
        draw.text((x, y), part, fill=fill, font=part_font, anchor="ls")
        x += part_font.getlength(part)


def _parts(text: str, font: "FreeTypeFont", file: Path | None) -> list[tuple[str, "FreeTypeFont"]]:
    """Split a text into parts of one font each; a whole text whose glyphs `font` has remains one."""
    path, size = Path(str(font.path)), int(font.size)
    lacking = _missing(text, path)
    others = [one for one in _files(bold="Bold" in path.name, user=file) if one != path]
    parts = list[tuple[str, Path]]()
    for character in text:
        chosen = path
        if character in lacking:
            chosen = next((other for other in others if not _missing(character, other)), path)
        if parts and parts[-1][1] == chosen:
            parts[-1] = parts[-1][0] + character, chosen
        else:
            parts.append((character, chosen))
    return [(part, font if chosen == path else _font(chosen, size)) for part, chosen in parts] or [(text, font)]


@contextmanager
def drawn_with(file: Path | None) -> Iterator[None]:
    """Let matplotlib fall back to the font `file` for glyphs that DejaVu Sans lacks.

    Its warnings about missing glyphs are suppressed: `say_missing` gives one for all.
    """
    import matplotlib
    from matplotlib import font_manager

    families = [_DEFAULT]
    if file is not None:
        font_manager.fontManager.addfont(file)
        families.append(font_manager.FontProperties(fname=file).get_name())
    with matplotlib.rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _files(*, bold: bool, user: Path | None) -> list[Path]:
    import matplotlib

    # The copy of matplotlib: the font of Pillow has no accents, Greek, Cyrillic or Arabic.
    default = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' * bold}.ttf"
    return [default, user] if user is not None else [default]


def _missing(text: str, font: Path) -> set[str]:
    """Return the visible characters of `text` without a glyph in `font`."""
    return {
        character
        for character in set(text)
        if ord(character) not in _characters(font) and unicodedata.category(character) not in _INVISIBLE
    }


@cache
def _characters(font: Path) -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font)).get_charmap())


@cache
def _font(file: Path, size: int) -> "FreeTypeFont":
    from PIL import ImageFont

    return ImageFont.truetype(file, size)
