"""Rendering of clips of eight motions in four opposite pairs, which differ only in the order of their frames.

The second motion of a pair is the first one reversed in time: the two clips consist of the same frames, so that the
accuracy of a model that ignores the order of frames is at most 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinema.prepare.drawn.drawing import Array, Field, color, random_pattern, random_shape
from kinema.prepare.drawn.motion import FRAMES, HEIGHT, PAIRS, WIDTH, Drawn, Track, idle, performing

LABELS = tuple(sorted(label for pair in PAIRS for label in pair))
"""The eight classes."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """An object of a scene: appearance and track."""

    shape: Field
    pattern: Field
    colors: tuple[Array, Array]
    """Two colors of the pattern, (3,) in 0 … 255 each."""
    track: Track


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A background (H, W, 3) in 0 … 255, and objects from back to front."""

    background: Array
    actors: tuple[Actor, ...]


def render_clip(label: str, seed: int | Sequence[int]) -> NDArray[np.uint8]:
    """Render a clip (T, H, W, 3) RGB of a motion of `LABELS`.

    For the same seed, the opposite label has the same frames in reverse order.
    """
    pair = next(pair for pair in PAIRS if label in pair)
    rng = np.random.default_rng([*np.atleast_1d(seed), PAIRS.index(pair)])
    frames = render(random_scene(pair[0], rng))
    return frames if label == pair[0] else frames[::-1].copy()


def random_scene(motion: Drawn, rng: np.random.Generator) -> Scene:
    """Draw a scene: one or two small distractors and, in front of them, two large objects that perform `motion`."""
    hue, dark = rng.uniform(), bool(rng.integers(2))
    tracks = [idle(rng) for _ in range(rng.integers(1, 3))] + [performing(motion, rng) for _ in range(2)]
    return Scene(
        background=_random_background(hue, dark, rng),
        actors=tuple(_random_actor(track, hue, dark, rng) for track in tracks),
    )


def render(scene: Scene) -> NDArray[np.uint8]:
    """Render the frames (T, H, W, 3) of a scene."""
    # Objects extend beyond the image: a larger one is drawn and cropped.
    margin = max((_reach(actor) for actor in scene.actors), default=0)
    frames = np.repeat(np.pad(scene.background, ((margin, margin), (margin, margin), (0, 0)))[None], FRAMES, axis=0)
    for actor in scene.actors:
        _draw(actor, frames, margin)
    picture = frames[:, margin : margin + HEIGHT, margin : margin + WIDTH]
    return np.rint(picture.clip(0, 255)).astype(np.uint8)


def _reach(actor: Actor) -> int:
    """Half the side, in pixels, of a square around the center that contains the object and its shadow in all frames."""
    return int(np.ceil(actor.track.radius.max())) + 6


def _draw(actor: Actor, frames: Array, margin: int) -> None:
    """Draw an object into `frames` (T, H + 2 margin, W + 2 margin, 3)."""
    track, reach = actor.track, _reach(actor)
    left, top = np.rint(track.x).astype(int), np.rint(track.y).astype(int)
    offsets = np.arange(-reach, reach + 1, dtype=np.float32)
    right = (offsets + (left - track.x)[:, None])[:, None, :]
    down = (offsets + (top - track.y)[:, None])[:, :, None]
    body, cover, shade = _paint(actor, right.astype(np.float32), down.astype(np.float32))
    for t in range(FRAMES):
        rows = slice(top[t] - reach + margin, top[t] + reach + 1 + margin)
        columns = slice(left[t] - reach + margin, left[t] + reach + 1 + margin)
        window = frames[t, rows, columns]
        window *= shade[t] * (1 - cover[t])
        window += cover[t] * body[t]


def _paint(actor: Actor, right: Array, down: Array) -> tuple[Array, Array, Array]:
    """Return color (T, n, n, 3), opacity (T, n, n, 1) and shading of the background (T, n, n, 1) around the center.

    `right` (T, 1, n) and `down` (T, n, 1) are the offsets of the pixels from the center.
    """
    track = actor.track
    cos, sin, radius = (
        np.cos(track.angle)[:, None, None],
        np.sin(track.angle)[:, None, None],
        track.radius[:, None, None],
    )
    u, v = (cos * right + sin * down) / radius, (cos * down - sin * right) / radius

    depth = -actor.shape(u, v) * radius
    mix = np.clip(0.5 + 0.2 * radius * actor.pattern(u, v), 0, 1)[..., None]
    edge = 1 - 0.3 * np.exp(-np.maximum(depth, 0) / 2)
    light = track.brightness[:, None, None] * edge * (1 - 0.12 * down / radius)
    body = light[..., None] * (actor.colors[0] + mix * (actor.colors[1] - actor.colors[0]))
    opacity = np.clip(0.5 + depth, 0, 1)
    shade = 1 - 0.4 * np.exp(-((np.minimum(depth, 0) / 3) ** 2))
    return body, opacity[..., None], shade[..., None]


def _random_background(hue: float, dark: bool, rng: np.random.Generator) -> Array:
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    size, contrast = rng.uniform(25, 60), rng.uniform(0.4, 4)
    pattern = np.clip(0.5 + contrast * random_pattern(rng)(x / size, y / size), 0, 1)
    mix = (0.7 * pattern + 0.3 * y / HEIGHT)[..., None]
    lightness = rng.uniform(0.30, 0.42) if dark else rng.uniform(0.85, 0.92)
    first = color(lightness, rng.uniform(0.03, 0.08), hue)
    second = color(lightness - 0.07, rng.uniform(0.03, 0.08), hue + rng.uniform(-0.1, 0.1))
    return first + mix * (second - first)


def _random_actor(track: Track, hue: float, dark: bool, rng: np.random.Generator) -> Actor:
    """Return an object whose hue and lightness contrast with a background of `hue`."""
    own = hue + rng.uniform(0.2, 0.8)
    lightness = rng.uniform(0.68, 0.78) if dark else rng.uniform(0.55, 0.68)
    second = lightness + (0.17 if rng.integers(2) else -0.2)
    return Actor(
        shape=random_shape(rng),
        pattern=random_pattern(rng),
        colors=(
            color(lightness, rng.uniform(0.11, 0.17), own),
            color(second, rng.uniform(0.05, 0.13), own + rng.uniform(-0.12, 0.12)),
        ),
        track=track,
    )
