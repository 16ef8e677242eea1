"""Perceptual hashes of videos, and near-duplicates by their Hamming distance.

A frame's hash has a bit for each of the 8×8 lowest frequencies of its cosine transform: whether it exceeds their median
(pHash; Zauner, 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"). It changes little by
encoding, scaling and brightness; trimmed, shifted or strongly cropped copies have other hashes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kinema.console import Meter
from kinema.data.readers.reader import FrameReader

FRAMES = 5
"""Frames of a video that are hashed: the middles of as many equal parts."""
THRESHOLD = 40
"""Bits of `FRAMES` · 64 by which near-duplicates differ at most."""

_SIDE, _LOW = 32, 8
_CANDIDATE = 22  # bits of 64 by which the middle frames of near-duplicates differ at most
_FLAT = 3.0  # standard deviation of grey below which a frame says nothing
_ROWS = 256

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Near-duplicates, by their positions; `bits` is their distance."""

    one: int
    other: int
    mirrored: bool
    bits: int


def video_hash(video: FrameReader) -> tuple[Hashes, Hashes] | None:
    """Return the hashes of a video and of its mirror image, each (FRAMES,); None if its frames are nearly uniform.

    Raises:
        MediaError: A frame cannot be read.
    """
    shown = ((np.arange(FRAMES) + 0.5) * len(video) / FRAMES).astype(int).tolist()
    frames = video.frames(shown).numpy()
    greys = np.stack([_grey(frame) for frame in frames])
    if np.median(greys.std(axis=(1, 2))) < _FLAT:
        return None
    low = np.einsum("ua,fab,vb->fuv", _COSINES, greys, _COSINES)
    # A mirror image has the same even frequencies in x, and the odd ones with the other sign.
    mirrored = low * np.where(np.arange(_LOW) % 2, -1.0, 1.0)
    return _bits(low), _bits(mirrored)


def near_duplicates(plain: Hashes, mirrored: Hashes, meter: Meter | None = None) -> Iterator[Pair]:
    """Yield the pairs of videos whose hashes, (N, FRAMES) each, differ by at most `THRESHOLD` bits.

    All pairs are compared by their middle frames, those that may be near by all.

    Args:
        plain: Hashes of the videos.
        mirrored: Hashes of their mirror images.
        meter: Counts videos.
    """
    middle = FRAMES // 2
    for start in range(0, len(plain), _ROWS):
        rows = plain[start : start + _ROWS]
        for others, is_mirrored in ((plain, False), (mirrored, True)):
            distance = np.bitwise_count(rows[:, None, middle] ^ others[None, start:, middle])
            near = np.argwhere(distance <= _CANDIDATE) + start
            near = near[near[:, 1] > near[:, 0]]
            bits = np.bitwise_count(plain[near[:, 0]] ^ others[near[:, 1]]).sum(axis=1)
            for (one, other), count in zip(near[bits <= THRESHOLD], bits[bits <= THRESHOLD], strict=True):
                yield Pair(one=int(one), other=int(other), mirrored=is_mirrored, bits=int(count))
        if meter is not None:
            meter.advance(len(rows))


def _grey(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return a frame as (32, 32) grey values: each the mean of an area, whatever the size."""
    grey = frame[..., :3].astype(np.float32).mean(axis=2)
    return np.asarray(Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)


def _bits(low: NDArray[np.float64]) -> Hashes:
    """Return low frequencies (FRAMES, 8, 8) as (FRAMES,) uint64; the mean, frequency 0, takes no part."""
    flat = low.reshape(len(low), -1).copy()
    flat[:, 0] = np.median(flat[:, 1:], axis=1)
    bits = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    packed: Hashes = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return packed


_COSINES = np.cos(np.pi / _SIDE * np.arange(_LOW)[:, None] * (np.arange(_SIDE) + 0.5))
"""Rows of the cosine transform (DCT-II)."""
