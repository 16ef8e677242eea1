"""Rendering of a video with predictions drawn over it."""

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
from kinema.data.readers.timed_video import frame_times
from kinema.errors import MediaError, UserError, did_you_mean
from kinema.prediction import Prediction
from kinema.report.fonts import font_for, length_of, write
from kinema.report.style import drawable
from kinema.storage import replacing

SUFFIXES = (".mp4", ".mov", ".mkv")

Frame = NDArray[np.uint8]
"""(H, W, 3) RGB."""
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom are exclusive."""

CLOCK = 90_000  # time base in Hz, a multiple of common frame rates including NTSC
_SHORT_SIDE = 480  # minimum length of the shorter side in pixels; drawings scale with it
_FRAMES_AT_ONCE, _BYTES_AT_ONCE = 32, 2**26
_MOST_ROWS = 5
_LEAST_SCORE = 0.01  # rows below it would hide the video for little information

_CARD, _TRACK = (13, 17, 26, 185), (46, 53, 68, 190)
_BAR, _BEST_BAR = (63, 94, 156, 240), (37, 99, 235, 245)
_TEXT, _BEST_TEXT = (226, 232, 240), (255, 255, 255)
_TIME_LEFT, _TIME_DONE = (13, 17, 26, 150), (96, 165, 250, 255)


def render_prediction(
    reader: FrameReader,
    predictions: Sequence[Prediction],
    path: Path,
    *,
    fps: float = 16.0,
    font: Path | None = None,
) -> None:
    """Write the video of `reader` as H.264 with a card of its best predictions, enlarged if it is small.

    Frames keep the time stamps of the file, whatever frame rate its header has.

    Args:
        reader: Video to render; all its frames are drawn, a few at a time.
        predictions: At least one prediction, best first. Up to five are drawn, each over a bar proportional to its
            score; after the first, only those of 1 % or more.
        path: File to write, `.mp4`, `.mov` or `.mkv`; it appears when it is complete.
        fps: Frame rate of videos without time stamps, such as folders of images.
        font: Font file for labels that DejaVu Sans cannot display.

    Raises:
        UserError: `path` has another suffix or cannot be written.
        MediaError: A frame cannot be read.
    """
    check_suffix(path)
    times = ticks_of(reader, fps)
    try:
        with replacing(path) as temporary:
            encode_video(_drawn_frames(reader, predictions, font), times, temporary)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def check_suffix(path: Path) -> None:
    """Raise UserError unless the suffix of `path` is one of `SUFFIXES`."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        near = did_you_mean(suffix, SUFFIXES)
        raise UserError(
            f"{path}: found suffix '{path.suffix}'; allowed for rendered videos: {', '.join(SUFFIXES)}{near}"
        )


def ticks_of(reader: FrameReader, fps: float) -> list[int]:
    """Return increasing time stamps of all frames in ticks of `CLOCK`, from 0 on, and the end of the last frame."""
    number, seconds = len(reader), None
    if Path(reader.path).is_file():
        try:
            seconds = frame_times(reader.path)
        except MediaError:  # a packed file, or one without time stamps
            seconds = None
    if seconds is None or len(seconds) != number:
        seconds = np.arange(number) / (reader.fps or fps)
    last = (seconds[-1] - seconds[0]) / (number - 1) if number > 1 else 1 / (reader.fps or fps)
    ticks = np.rint((np.append(seconds, seconds[-1] + last) - seconds[0]) * CLOCK).astype(np.int64)
    return list(np.maximum.accumulate(ticks - np.arange(number + 1)) + np.arange(number + 1))


def _drawn_frames(reader: FrameReader, predictions: Sequence[Prediction], font: Path | None = None) -> Iterator[Frame]:
    """Yield every frame, enlarged to even sides, with the card and a progress bar."""
    height, width = reader.frames([0]).shape[1:3]
    scale = enlargement(height, width)
    even_height, even_width = height * scale // 2 * 2, width * scale // 2 * 2
    card = lay_out(predictions, even_width, even_height, font=font)
    drawn = draw_card(card)
    at_once = min(max(_BYTES_AT_ONCE // (3 * height * width), 1), _FRAMES_AT_ONCE)
    for start in range(0, len(reader), at_once):
        chunk = reader.frames(range(start, min(start + at_once, len(reader)))).numpy()
        for done, frame in enumerate(chunk, start + 1):
            enlarged = Image.fromarray(frame).resize((width * scale, height * scale), Image.Resampling.LANCZOS)
            picture = enlarged.crop((0, 0, even_width, even_height))
            picture.paste(drawn, card.box[:2], drawn)
            _draw_time(picture, done / len(reader))
            yield np.asarray(picture)


def enlargement(height: int, width: int) -> int:
    """Return the factor by which frames are enlarged, so that text can be read on small ones."""
    return -(-_SHORT_SIDE // min(height, width))


def with_card(
    frames: Iterator[Frame], predictions: Sequence[Prediction], *, font: Path | None = None
) -> Iterator[Frame]:
    """Yield frames of one size with the card of predictions; see `render_prediction`."""
    card = drawn = None
    for frame in frames:
        if card is None or drawn is None:
            card = lay_out(predictions, frame.shape[1], frame.shape[0], font=font)
            drawn = draw_card(card)
        picture = Image.fromarray(frame)
        picture.paste(drawn, card.box[:2], drawn)
        yield np.asarray(picture)


def encode_video(frames: Iterator[Frame], times: Sequence[int], path: Path, *, crf: int = 18) -> None:
    """Write frames of even sides as H.264, 4:2:0, with the index in front.

    Args:
        frames: At least one frame.
        times: When each frame is shown and the last one ends, in ticks of `CLOCK`.
        path: File to write; its suffix selects the container.
        crf: Constant rate factor of x264: lower is better and larger; 18 is visually lossless.
    """
    rate = Fraction(CLOCK * (len(times) - 1), int(times[-1])).limit_denominator(1001)
    timed = ((frame, int(start), int(end)) for frame, (start, end) in zip(frames, pairwise(times), strict=True))
    encode_frames(timed, path, rate=rate, crf=crf)


def encode_frames(frames: Iterator[tuple[Frame, int, int]], path: Path, *, rate: Fraction, crf: int = 18) -> None:
    """Write frames as `encode_video` does, each with its start and end in ticks of `CLOCK`; memory is bounded.

    `rate` is the average frame rate, as far as it is known.
    """
    first = next(frames)
    # With the index in front, a browser can start before the download is complete.
    options = {} if path.suffix.lower() == ".mkv" else {"movflags": "+faststart"}
    ends = dict[int, int]()
    with av.open(str(path), "w", options=options) as container:
        # Without B-frames, decoding and presentation times are equal, whatever the intervals.
        stream = container.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast", "bf": "0"})
        stream.height, stream.width = first[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, CLOCK)
        _tag_colors(stream.codec_context)
        for picture, start, end in chain([first], frames):
            frame = VideoFrame.from_ndarray(picture, format="rgb24")
            yuv = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
            yuv.pts, yuv.time_base = start, Fraction(1, CLOCK)
            ends[yuv.pts] = end
            _mux(container, stream.encode(yuv), ends)
        _mux(container, stream.encode(None), ends)


def _mux(container: OutputContainer, packets: "list[Packet[VideoStream]]", ends: dict[int, int]) -> None:
    """Write packets with durations up to the next frame, which the encoder does not set."""
    for packet in packets:
        if packet.pts is not None:
            packet.duration = ends.pop(packet.pts, packet.pts) - packet.pts
        container.mux(packet)


def _tag_colors(context: VideoCodecContext) -> None:
    """Tag the color space, which players otherwise guess from the size of the video."""
    context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
    context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709


def _draw_time(picture: Image.Image, progress: float) -> None:
    """Draw a thin progress bar along the bottom."""
    width, height = picture.size
    top, middle = height - max(min(height, width) // 120, 1), round(progress * width)
    draw = ImageDraw.Draw(picture, "RGBA")
    for left, right, color in ((0, middle, _TIME_DONE), (middle, width, _TIME_LEFT)):
        if right > left:
            draw.rectangle((left, top, right - 1, height - 1), fill=color)


@dataclass(frozen=True, kw_only=True)
class Row:
    """A prediction on the card: label at the left of its box, percentage at the right, over a bar."""

    box: Box
    bar_right: int
    """Right end of the bar."""
    label: str
    """Label, shortened if it is too long."""
    font: FreeTypeFont
    """Font of the label."""
    font_file: Path | None
    """Font of characters that it lacks."""
    percent: str
    percent_font: FreeTypeFont
    inset: int
    """Horizontal padding of the text in pixels."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Layout of predictions in a corner of an image."""

    box: Box
    corner: int
    """Corner radius in pixels."""
    rows: tuple[Row, ...]
    """Rows, best prediction first."""


def lay_out(predictions: Sequence[Prediction], width: int, height: int, *, font: Path | None = None) -> Card:
    """Lay out predictions in the upper left of an image: at the bottom, players show their controls.

    The best label is shortened only if it exceeds the width of the image, the others if they exceed half of it. Labels
    that DejaVu Sans cannot display use the font file `font`.
    """
    unit = min(width, height) / _SHORT_SIDE
    margin, padding, gap, inset = (round(pixels * unit) for pixels in (14, 7, 3, 9))
    listed = [*predictions[:1], *(other for other in predictions[1:_MOST_ROWS] if other.score >= _LEAST_SCORE)]
    styles = [_Style(round(19 * unit), round(33 * unit), inset, bold=True, font=font)]
    styles += [_Style(round(13 * unit), round(22 * unit), inset, bold=False, font=font)] * (len(listed) - 1)
    best, *others = (style.width_of(prediction) for prediction, style in zip(listed, styles, strict=True))
    row_width = ceil(max(min(best, width - 2 * (margin + padding)), min(max(others, default=0), width / 2), 200 * unit))

    left = top = margin + padding
    rows = []
    for prediction, style in zip(listed, styles, strict=True):
        rows.append(style.row(prediction, (left, top, left + row_width, top + style.height)))
        top += style.height + gap
    box = (margin, margin, left + row_width + padding, top - gap + padding)
    return Card(box=box, corner=round(9 * unit), rows=tuple(rows))


@dataclass(frozen=True)
class _Style:
    """Style of a row; sizes in pixels."""

    size: int
    height: int
    inset: int
    bold: bool
    font: Path | None

    def width_of(self, prediction: Prediction) -> float:
        """Width in pixels of a row with the full label."""
        label, percent = drawable(prediction.text), f"{prediction.score:.1%}"
        return self._length(label) + self._font(percent).getlength(percent) + 4 * self.inset

    def row(self, prediction: Prediction, box: Box) -> Row:
        """Return the row of a prediction in `box`."""
        left, _, right, _ = box
        label, percent = drawable(prediction.text), f"{prediction.score:.1%}"
        room = right - left - self._font(percent).getlength(percent) - 4 * self.inset
        return Row(
            box=box,
            bar_right=left + round(prediction.score * (right - left)),
            label=cut_to(label, self._font(label), room, file=self.font),
            font=self._font(label),
            font_file=self.font,
            percent=percent,
            percent_font=self._font(percent),
            inset=self.inset,
        )

    def _length(self, label: str) -> float:
        return length_of(label, self._font(label), file=self.font)

    def _font(self, text: str) -> FreeTypeFont:
        return font_for(text, self.size, bold=self.bold, file=self.font)


def cut_to(text: str, font: FreeTypeFont, room: float, *, file: Path | None = None) -> str:
    """Shorten text in the middle to `room` pixels: long names often differ in the last word."""
    kept = len(text)
    shortened = text
    while kept and length_of(shortened, font, file=file) > room:
        # A very long text is first cut to as many letters as pixels, then letter by letter.
        kept = min(kept - 1, int(room))
        shortened = f"{text[: (kept + 1) // 2].rstrip()}…{text[len(text) - kept // 2 :].lstrip()}"
    return shortened


def draw_card(card: Card) -> Image.Image:
    """Draw the card as an RGBA image of the size of its box."""
    left, top = card.box[:2]
    image = _draw_boxes(card, smooth=4)
    text = ImageDraw.Draw(image)
    for row, color in zip(card.rows, [_BEST_TEXT] + [_TEXT] * _MOST_ROWS, strict=False):
        middle = (row.box[1] + row.box[3]) / 2 - top
        start, end = row.box[0] + row.inset - left, row.box[2] - row.inset - left
        write(text, (start, middle), row.label, row.font, fill=color, anchor="lm", file=row.font_file)
        text.text((end, middle), row.percent, fill=color, font=row.percent_font, anchor="rm")
    return image


def _draw_boxes(card: Card, *, smooth: int) -> Image.Image:
    """Draw the card without text, antialiased by `smooth` times supersampling."""

    def on_canvas(box: Box) -> Box:
        # Boxes of Pillow include their last pixel.
        left, top, right, bottom = (
            (pixel - origin) * smooth for pixel, origin in zip(box, card.box[:2] * 2, strict=True)
        )
        return left, top, right - 1, bottom - 1

    left, top, right, bottom = on_canvas(card.box)
    image = Image.new("RGBA", (right + 1, bottom + 1))
    ImageDraw.Draw(image).rounded_rectangle((left, top, right, bottom), card.corner * smooth, fill=_CARD)
    bars, rounded = Image.new("RGBA", image.size, _TRACK), Image.new("L", image.size)
    for row, color in zip(card.rows, [_BEST_BAR] + [_BAR] * _MOST_ROWS, strict=False):
        ImageDraw.Draw(rounded).rounded_rectangle(on_canvas(row.box), card.corner * smooth * 0.6, fill=255)
        if row.bar_right > row.box[0]:
            ImageDraw.Draw(bars).rectangle(on_canvas((*row.box[:2], row.bar_right, row.box[3])), fill=color)
    image.paste(bars, mask=rounded)
    return image.reduce(smooth)
