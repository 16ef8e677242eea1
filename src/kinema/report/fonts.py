"""Fonts for labels in any writing: DejaVu Sans (Latin, Greek, Cyrillic, Arabic), and a font of the user."""

import logging
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font
from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

from kinema.errors import UserError

log = logging.getLogger(__name__)

_USUAL = "DejaVu Sans"
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp", "Zs")  # categories of characters that need no glyph
_SHOWN = 8


def check_font(file: Path | None) -> None:
    """See that `file` is a font, if one is given.

    Raises:
        UserError: it is none.
    """
    if file is None:
        return
    if not file.is_file():
        raise UserError(f"--font: no file '{file}'")
    try:
        FT2Font(str(file))
        ImageFont.truetype(file)
    except (OSError, RuntimeError):
        raise UserError(f"--font: '{file}' is no font; .ttf, .otf and .ttc files are") from None


def say_missing(texts: Iterable[str], file: Path | None) -> None:
    """Warn once of all characters of `texts` that can be drawn neither with the usual font nor with `file`."""
    text = "".join(texts)
    missing = sorted(set.intersection(*(_missing(text, font) for font in _files(bold=False, own=file))))
    if missing:
        shown = "".join(missing[:_SHOWN]) + "…" * (len(missing) > _SHOWN)
        having = f"{_USUAL} and {file} have" if file else f"{_USUAL} has"
        log.warning(
            "%s no glyphs for %d characters of the labels (%s), which are drawn as boxes: give a font that has them, "
            "--font FILE.ttf, such as Noto Sans of that writing",
            having,
            len(missing),
            shown,
        )


def font_for(text: str, size: int, *, bold: bool = False, file: Path | None = None) -> FreeTypeFont:
    """The font of Pillow that draws `text`: the usual one, if it has as many of the glyphs as the font `file`."""
    best = min(_files(bold=bold, own=file), key=lambda font: len(_missing(text, font)))
    return _font(best, size)


@contextmanager
def drawn_with(file: Path | None) -> Iterator[None]:
    """Texts that matplotlib draws in this block take glyphs that the usual font lacks from the font `file`.

    Characters that neither has become boxes without a word: `say_missing` says it once for all of them.
    """
    families = [_USUAL]
    if file is not None:
        font_manager.fontManager.addfont(file)
        families.append(font_manager.FontProperties(fname=file).get_name())
    with matplotlib.rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _files(*, bold: bool, own: Path | None) -> list[Path]:
    # As matplotlib brings it: Pillow's own font has no accents, no Greek, Cyrillic or Arabic.
    usual = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"DejaVuSans{'-Bold' * bold}.ttf"
    return [usual, own] if own is not None else [usual]


def _missing(text: str, font: Path) -> set[str]:
    """Visible characters of `text` for which `font` has no glyph."""
    return {
        character
        for character in set(text)
        if ord(character) not in _characters(font) and unicodedata.category(character) not in _INVISIBLE
    }


@cache
def _characters(font: Path) -> frozenset[int]:
    return frozenset(FT2Font(str(font)).get_charmap())


@cache
def _font(file: Path, size: int) -> FreeTypeFont:
    return ImageFont.truetype(file, size)
