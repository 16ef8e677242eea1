"""Labels in writings that the usual font lacks: matplotlib brings STIX, which has circled letters."""

import json
import logging
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from kinema.cli import main
from kinema.errors import UserError
from kinema.prediction import Prediction
from kinema.prepare.drawn.sample import LABELS
from kinema.report.fonts import check_font, font_for, length_of, say_missing, write
from kinema.report.plots import draw_confusion
from kinema.report.render import lay_out

STIX = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "STIXGeneral.ttf"
CIRCLED = "ⒶⓏⓑ"


def test_a_label_is_written_in_the_font_that_has_its_glyphs() -> None:
    shown = [Prediction(CIRCLED, 0.7), Prediction("running", 0.2), Prediction(f"running {CIRCLED}", 0.1)]
    fonts = [row.font.path for row in lay_out(shown, 640, 480, font=STIX).rows]
    assert [Path(font).name for font in fonts] == ["STIXGeneral.ttf", "DejaVuSans.ttf", "STIXGeneral.ttf"]
    drawn = np.asarray(font_for(CIRCLED, 30, file=STIX).getmask(CIRCLED))
    np.testing.assert_array_equal(drawn, np.asarray(ImageFont.truetype(STIX, 30).getmask(CIRCLED)))


@pytest.mark.parametrize(
    ("texts", "font", "expected"),
    [
        (["running", "é ω я ش", "a​b"], None, None),
        ([CIRCLED, "走る", "running"], None, "DejaVu Sans has no glyphs for 5 characters of the labels (Ⓐ"),
        ([CIRCLED], STIX, None),
        ([CIRCLED, "走る"], STIX, "STIXGeneral.ttf have no glyphs for 2 characters of the labels (る走)"),
        (["".join(map(chr, range(0x4E00, 0x4F00)))], None, "for 256 characters of the labels (一丁丂七丄丅丆万…)"),
    ],
)
def test_missing_glyphs_are_said_once(
    texts: list[str], font: Path | None, expected: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        say_missing(texts, font)
    assert len(caplog.messages) == (expected is not None)
    assert expected is None or (expected in caplog.text and "--font FILE" in caplog.text)


def test_pictures_take_glyphs_from_the_given_font_and_warn_of_none(tmp_path: Path) -> None:
    confusion = torch.eye(2, dtype=torch.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, font in (("boxes", None), ("glyphs", STIX), ("other", STIX)):
            label = "ⒷⒷⒷ" if name == "other" else "ⒶⒶⒶ"
            draw_confusion(confusion, [label, "run"], tmp_path / f"{name}.png", font=font)
    pictures = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("boxes", "glyphs", "other")]
    assert not all(one.shape == pictures[0].shape and (one == pictures[0]).all() for one in pictures[1:2])
    assert pictures[1].shape != pictures[2].shape or (pictures[1] != pictures[2]).any()


@pytest.mark.parametrize(("name", "content"), [("none.ttf", None), ("text.ttf", b"no font")])
def test_what_is_no_font_is_refused(name: str, content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"--font: .*{name}"):
        check_font(tmp_path / name)


def test_commands_say_once_which_option_gives_the_glyphs(
    tiny_run: Path, sample: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The classes of a model as another language calls them."""
    model = tmp_path / "model"
    model.mkdir()
    for file in (tiny_run / "checkpoints" / "best").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    described = json.loads((model / "model.json").read_text())
    described["classes"] = [CIRCLED[0] * number + "跳" for number in range(1, len(LABELS) + 1)]
    (model / "model.json").write_text(json.dumps(described))
    clips = [str(sample / "val" / LABELS[0]), str(sample / "val" / LABELS[1])]
    for font, missing in (
        ([], "2 characters of the labels (Ⓐ跳)"),
        (["--font", str(STIX)], "1 characters of the labels (跳)"),
    ):
        arguments = ["predict", str(model), *clips, "--render", str(tmp_path / "out"), "--device", "cpu", *font]
        assert main(arguments) == 0
        said = " ".join(capfd.readouterr().err.split())
        assert said.count("--font FILE") == 1
        assert missing in said
        assert "Glyph" not in said


def test_characters_of_several_fonts_in_a_label() -> None:
    """STIX has circled letters, DejaVu Sans others that STIX lacks: each is drawn in the font that has it."""
    only_dejavu = "ش"
    label, image = f"{CIRCLED}{only_dejavu}", Image.new("L", (400, 60))
    font = font_for(label, 30, file=STIX)
    assert Path(str(font.path)).name == "STIXGeneral.ttf"
    write(ImageDraw.Draw(image), (5, 45), label, font, fill=(255,), anchor="ls", file=STIX)
    expected, x = Image.new("L", image.size), 5.0
    for part, name in ((CIRCLED, "STIXGeneral.ttf"), (only_dejavu, "DejaVuSans.ttf")):
        one = ImageFont.truetype(STIX.with_name(name), 30)
        ImageDraw.Draw(expected).text((x, 45), part, fill=255, font=one, anchor="ls")
        x += one.getlength(part)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
    assert length_of(label, font, file=STIX) == pytest.approx(x - 5)
