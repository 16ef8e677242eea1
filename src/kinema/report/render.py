"""A video with the model's answers drawn over it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from math import ceil
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.ImageFont import FreeTypeFont

from kinema.data.readers.reader import FrameReader
from kinema.data.readers.video import frame_times
from kinema.errors import MediaError, UserError, did_you_mean
from kinema.report.fonts import font_for
from kinema.report.prediction import Prediction
from kinema.storage import replacing

SUFFIXES = (".mp4", ".mov", ".mkv")

Frame = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the picture; right and bottom are the first outside."""

_CLOCK = 90_000  # parts of a second; common frame rates, also those of NTSC, have whole numbers of them
_SHORT_SIDE = 480  # pixels of the shorter side at least; what is drawn is sized in 480ths of it
_FRAMES_AT_ONCE, _BYTES_AT_ONCE = 32, 2**26
_MOST_ROWS = 5
_LEAST_SCORE = 0.01  # less is not worth the part of the scene that its row would hide

_CARD, _TRACK = (13, 17, 26, 185), (46, 53, 68, 190)
_BAR, _BEST_BAR = (63, 94, 156, 240), (37, 99, 235, 245)
_TEXT, _BEST_TEXT = (226, 232, 240), (255, 255, 255)
_TIME_TO_COME, _TIME_GONE = (13, 17, 26, 150), (96, 165, 250, 255)


def render_prediction(
    reader: FrameReader,
    predictions: Sequence[Prediction],
    path: Path,
    *,
    fps: float = 16.0,
    font: Path | None = None,
) -> None:
    """Write the video of `reader` as H.264, enlarged when it is small, with a card that shows the best predictions.

    Every frame is shown when the file's time stamps say, whatever frame rate its header names.

    Args:
        reader: every one of its frames is drawn, a few at a time.
        predictions: best first, at least one. Up to five are shown, each over a bar as long as its score; after the
            first, only those of 1 % or more.
        path: the file to write, `.mp4`, `.mov` or `.mkv`; it appears when it is complete.
        fps: frames per second where nothing says when frames are shown, as in a folder of images.
        font: a font file for labels that DejaVu Sans cannot write.

    Raises:
        UserError: `path` has another suffix or cannot be written.
        MediaError: a frame cannot be read.
    """
    check_suffix(path)
    times = _times(reader, fps)
    try:
        with replacing(path) as temporary:
            _encode(_drawn_frames(reader, predictions, font), times, temporary)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def check_suffix(path: Path) -> None:
    """See that `path` names a kind of file that a video can be rendered to.

    Raises:
        UserError: it does not.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        near = did_you_mean(suffix, SUFFIXES)
        raise UserError(f"{path}: a video is rendered to one of {', '.join(SUFFIXES)}, not to '{path.suffix}'{near}")


def _times(reader: FrameReader, fps: float) -> list[int]:
    """When each frame is shown, in `_CLOCK`ths of a second, ascending from 0; after the last one, when it ends."""
    number, seconds = len(reader), None
    if Path(reader.path).is_file():
        try:
            seconds = frame_times(reader.path)
        except MediaError:  # a packed file, or one without time stamps
            seconds = None
    if seconds is None or len(seconds) != number:
        seconds = np.arange(number) / (reader.fps or fps)
    last = (seconds[-1] - seconds[0]) / (number - 1) if number > 1 else 1 / (reader.fps or fps)
    ticks = np.rint((np.append(seconds, seconds[-1] + last) - seconds[0]) * _CLOCK).astype(np.int64)
    return list(np.maximum.accumulate(ticks - np.arange(number + 1)) + np.arange(number + 1))


def _drawn_frames(reader: FrameReader, predictions: Sequence[Prediction], font: Path | None = None) -> Iterator[Frame]:
    """Every frame of the video, enlarged, with even sides and drawn upon."""
    height, width = reader.frames([0]).shape[1:3]
    scale = -(-_SHORT_SIDE // min(height, width))
    even_height, even_width = height * scale // 2 * 2, width * scale // 2 * 2
    card = lay_out(predictions, even_width, even_height, font=font)
    overlay = _Overlay(_draw(card), card.box)
    at_once = min(max(_BYTES_AT_ONCE // (3 * height * width), 1), _FRAMES_AT_ONCE)
    for start in range(0, len(reader), at_once):
        chunk = reader.frames(range(start, min(start + at_once, len(reader)))).numpy()
        for done, frame in enumerate(chunk, start + 1):
            enlarged = Image.fromarray(frame).resize((width * scale, height * scale), Image.Resampling.LANCZOS)
            picture = np.array(enlarged)[:even_height, :even_width]
            overlay.cover(picture)
            _draw_time(picture, done / len(reader))
            yield picture


def _encode(frames: Iterator[Frame], times: Sequence[int], path: Path) -> None:
    first = next(frames)
    # The index in front lets a browser begin before it has the whole file.
    options = {} if path.suffix.lower() == ".mkv" else {"movflags": "+faststart"}
    ends = dict[int, int]()
    rate = Fraction(_CLOCK * (len(times) - 1), int(times[-1])).limit_denominator(1001)
    with av.open(str(path), "w", options=options) as container:
        # Without B-frames, frames are decoded at the times at which they are shown, whatever lies between them.
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18", "preset": "veryfast", "bf": "0"})
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _CLOCK)
        _tag_colours(stream.codec_context)
        for picture, (start, end) in zip(chain([first], frames), pairwise(times), strict=True):
            frame = VideoFrame.from_ndarray(picture, format="rgb24")
            yuv = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            yuv.pts, yuv.time_base = int(start), Fraction(1, _CLOCK)
            ends[yuv.pts] = int(end)
            _mux(container, stream.encode(yuv), ends)
        _mux(container, stream.encode(None), ends)


def _mux(container: OutputContainer, packets: "list[Packet[VideoStream]]", ends: dict[int, int]) -> None:
    """Write packets that last until the next one begins, which the encoder does not know."""
    for packet in packets:
        if packet.pts is not None:
            packet.duration = ends.pop(packet.pts, packet.pts) - packet.pts
        container.mux(packet)


def _tag_colours(context: VideoCodecContext) -> None:
    """Say which colours the numbers mean: of a video that does not, players guess it by the size, each its own way."""
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709


class _Overlay:
    """A picture with transparency that is laid over many frames at the same place."""

    def __init__(self, image: Image.Image, box: Box) -> None:
        left, top, right, bottom = box
        self._place = slice(top, bottom), slice(left, right)
        rgba = np.asarray(image).astype(np.uint16)
        colour, alpha = rgba[..., :3], rgba[..., 3:]
        self._share_of_frame = 255 - alpha
        self._added = colour * alpha + 127

    def cover(self, frame: Frame) -> None:
        """Lay it over `frame`, in place."""
        region = frame[self._place]
        region[:] = (region * self._share_of_frame + self._added) // 255


def _draw_time(frame: Frame, gone: float) -> None:
    """A thin bar along the bottom, of which the fraction `gone` is bright."""
    height, width = frame.shape[:2]
    thickness, middle = max(min(height, width) // 120, 1), round(gone * width)
    for columns, (*colour, alpha) in ((slice(middle), _TIME_GONE), (slice(middle, None), _TIME_TO_COME)):
        region = frame[-thickness:, columns]
        region[:] = (region * np.uint16(255 - alpha) + np.array(colour, np.uint16) * np.uint16(alpha)) // 255


@dataclass(frozen=True, kw_only=True)
class Row:
    """One prediction on the card: the label at the left of its box, the percent at the right, a bar beneath both."""

    box: Box
    bar_right: int
    """Where the bar ends."""
    label: str
    """Shortened where it is too long."""
    font: FreeTypeFont
    """Of the label."""
    percent: str
    percent_font: FreeTypeFont
    inset: int
    """Pixels between an end of the box and its text."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """The predictions laid out in a corner of a picture."""

    box: Box
    corner: int
    """Radius of a rounded corner in pixels."""
    rows: tuple[Row, ...]
    """Best first."""


def lay_out(predictions: Sequence[Prediction], width: int, height: int, *, font: Path | None = None) -> Card:
    """Lay out predictions in the upper left of a picture: at the bottom, players lay their controls over it.

    The best is named in full wherever the picture is wide enough; for the others, half of its width must do. Labels
    that DejaVu Sans cannot write are in the font of the file `font`.
    """
    unit = min(width, height) / _SHORT_SIDE
    margin, padding, gap, inset = (round(pixels * unit) for pixels in (14, 7, 3, 9))
    shown = [*predictions[:1], *(other for other in predictions[1:_MOST_ROWS] if other.score >= _LEAST_SCORE)]
    styles = [_Style(round(19 * unit), round(33 * unit), inset, bold=True, font=font)]
    styles += [_Style(round(13 * unit), round(22 * unit), inset, bold=False, font=font)] * (len(shown) - 1)
    best, *others = (style.width_of(prediction) for prediction, style in zip(shown, styles, strict=True))
    row_width = ceil(max(min(best, width - 2 * (margin + padding)), min(max(others, default=0), width / 2), 200 * unit))

    left = top = margin + padding
    rows = []
    for prediction, style in zip(shown, styles, strict=True):
        rows.append(style.row(prediction, (left, top, left + row_width, top + style.height)))
        top += style.height + gap
    box = (margin, margin, left + row_width + padding, top - gap + padding)
    return Card(box=box, corner=round(9 * unit), rows=tuple(rows))


@dataclass(frozen=True)
class _Style:
    """How a row is written; sizes in pixels."""

    size: int
    height: int
    inset: int
    bold: bool
    font: Path | None

    def width_of(self, prediction: Prediction) -> float:
        """Pixels of a row that need not shorten its label."""
        label, percent = _one_line(prediction.label), _percent(prediction)
        return self._font(label).getlength(label) + self._font(percent).getlength(percent) + 4 * self.inset

    def row(self, prediction: Prediction, box: Box) -> Row:
        """The row of a prediction in `box`."""
        left, _, right, _ = box
        label, percent = _one_line(prediction.label), _percent(prediction)
        room = right - left - self._font(percent).getlength(percent) - 4 * self.inset
        return Row(
            box=box,
            bar_right=left + round(prediction.score * (right - left)),
            label=_shortened(label, self._font(label), room),
            font=self._font(label),
            percent=percent,
            percent_font=self._font(percent),
            inset=self.inset,
        )

    def _font(self, text: str) -> FreeTypeFont:
        return font_for(text, self.size, bold=self.bold, file=self.font)


def _percent(prediction: Prediction) -> str:
    return f"{prediction.score:.1%}"


def _one_line(label: str) -> str:
    # The name of a folder that is not UTF-8 holds half characters, which no font draws.
    return " ".join(label.encode(errors="replace").decode().split())


def _shortened(text: str, font: FreeTypeFont, room: float) -> str:
    """`text`, without its middle when it is longer than `room` pixels: long names often differ in their last word."""
    kept = len(text)
    shortened = text
    while kept and font.getlength(shortened) > room:
        # Far too long a text is first cut by its length, then letter by letter.
        kept = min(kept - 1, int(room))
        shortened = f"{text[: (kept + 1) // 2].rstrip()}…{text[len(text) - kept // 2 :].lstrip()}"
    return shortened


def _draw(card: Card) -> Image.Image:
    """The card as RGBA, as large as its box."""
    left, top = card.box[:2]
    image = _draw_boxes(card, smooth=4)
    text = ImageDraw.Draw(image)
    for row, colour in zip(card.rows, [_BEST_TEXT] + [_TEXT] * _MOST_ROWS, strict=False):
        middle = (row.box[1] + row.box[3]) / 2 - top
        start, end = row.box[0] + row.inset - left, row.box[2] - row.inset - left
        text.text((start, middle), row.label, fill=colour, font=row.font, anchor="lm")
        text.text((end, middle), row.percent, fill=colour, font=row.percent_font, anchor="rm")
    return image


def _draw_boxes(card: Card, *, smooth: int) -> Image.Image:
    """The card without text, drawn `smooth` times as large for the sake of its edges."""

    def on_canvas(box: Box) -> Box:
        # Pillow's boxes hold their last pixel.
        left, top, right, bottom = (
            (pixel - origin) * smooth for pixel, origin in zip(box, card.box[:2] * 2, strict=True)
        )
        return left, top, right - 1, bottom - 1

    left, top, right, bottom = on_canvas(card.box)
    image = Image.new("RGBA", (right + 1, bottom + 1))
    ImageDraw.Draw(image).rounded_rectangle((left, top, right, bottom), card.corner * smooth, fill=_CARD)
    bars, rounded = Image.new("RGBA", image.size, _TRACK), Image.new("L", image.size)
    for row, colour in zip(card.rows, [_BEST_BAR] + [_BAR] * _MOST_ROWS, strict=False):
        ImageDraw.Draw(rounded).rounded_rectangle(on_canvas(row.box), card.corner * smooth * 0.6, fill=255)
        if row.bar_right > row.box[0]:
            ImageDraw.Draw(bars).rectangle(on_canvas((*row.box[:2], row.bar_right, row.box[3])), fill=colour)
    image.paste(bars, mask=rounded)
    return image.reduce(smooth)
