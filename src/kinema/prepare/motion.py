"""Drawn clips of eight motions in four opposed pairs; only the order of their frames tells the two of a pair apart.

The second motion of a pair is the first one played backwards: whatever the scene, the two clips consist of the same
frames. A model that ignores the order of frames is right half of the time at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kinema.prepare.drawing import Array, Field, colour, random_pattern, random_shape

PAIRS = (
    ("moving_right", "moving_left"),
    ("moving_down", "moving_up"),
    ("turning_clockwise", "turning_counterclockwise"),
    ("growing", "shrinking"),
)
LABELS = tuple(sorted(label for pair in PAIRS for label in pair))
FRAMES, HEIGHT, WIDTH, FPS = 32, 96, 128, 16


@dataclass(frozen=True, kw_only=True)
class Track:
    """Where an object is in each of the T frames; every field is (T,)."""

    x: Array
    """Pixels from the left."""
    y: Array
    """Pixels from the top."""
    radius: Array
    """Pixels."""
    angle: Array
    """Radians, clockwise on the screen."""
    brightness: Array
    """Factor of its colours."""


@dataclass(frozen=True, kw_only=True)
class Actor:
    """One object of a scene: how it looks and how it moves."""

    shape: Field
    pattern: Field
    colours: tuple[Array, Array]
    track: Track


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A background (H, W, 3) in 0 … 255 and the objects before it, from far to near; the last performs the motion."""

    background: Array
    actors: tuple[Actor, ...]


def render_clip(label: str, seed: int | Sequence[int]) -> NDArray[np.uint8]:
    """The clip (T, H, W, 3) RGB of the motion `label`: 32 frames of 128×96, meant for 16 frames a second.

    The same seed gives the opposed label the same frames in reverse order.
    """
    pair = next(pair for pair in PAIRS if label in pair)
    frames = render(random_scene(PAIRS.index(pair), seed))
    return frames if label == pair[0] else frames[::-1]


def random_scene(pair: int, seed: int | Sequence[int]) -> Scene:
    """A scene in which the last actor performs `PAIRS[pair][0]`.

    One to three others stand still or sway, rock, pulse or flicker: they always come back to where they were.
    """
    rng = np.random.default_rng([*np.atleast_1d(seed), pair])
    hue, dark = rng.uniform(), bool(rng.integers(2))
    tracks = [_idle_track(rng) for _ in range(rng.integers(1, 3))]
    tracks += [_performing_track(pair, rng) for _ in range(2)]
    return Scene(
        background=_background(hue, dark, rng),
        actors=tuple(_actor(track, hue, dark, rng) for track in tracks),
    )


def render(scene: Scene) -> NDArray[np.uint8]:
    """Draw the frames (T, H, W, 3) of a scene."""
    reach = int(max(np.ceil(actor.track.radius.max()) for actor in scene.actors)) + _SHADOW if scene.actors else 0
    padding = ((reach, reach), (reach, reach), (0, 0))
    frames = np.repeat(np.pad(scene.background, padding)[None], FRAMES, axis=0)
    for actor in scene.actors:
        _draw(actor, frames, reach)
    return np.rint(frames[:, reach : reach + HEIGHT, reach : reach + WIDTH].clip(0, 255)).astype(np.uint8)


_SHADOW = 6
"""Pixels around an object that its soft shadow darkens."""


def _draw(actor: Actor, frames: Array, reach: int) -> None:
    """Draw an object into `frames` (T, H + 2 reach, W + 2 reach, 3), in a square window around its centre."""
    track = actor.track
    left, top = np.rint(track.x).astype(int), np.rint(track.y).astype(int)
    half = min(int(np.ceil(track.radius.max())) + _SHADOW, reach)
    offsets = np.arange(-half, half + 1, dtype=np.float32)
    right = (offsets + (left - track.x)[:, None])[:, None, :]
    down = (offsets + (top - track.y)[:, None])[:, :, None]
    cos, sin, radius = (
        a.astype(np.float32)[:, None, None] for a in (np.cos(track.angle), np.sin(track.angle), track.radius)
    )
    u, v = (cos * right + sin * down) / radius, (cos * down - sin * right) / radius

    distance = actor.shape(u, v) * radius
    paint = np.clip(0.5 + 0.2 * radius * actor.pattern(u, v), 0, 1)[..., None]
    rim = 1 - 0.3 * np.exp(np.minimum(distance, 0) / 2)
    light = (track.brightness[:, None, None] * rim * (1 - 0.12 * down / radius))[..., None]
    body = light * (actor.colours[0] + paint * (actor.colours[1] - actor.colours[0]))
    cover = np.clip(0.5 - distance, 0, 1)[..., None]
    shadow = (1 - 0.4 * np.exp(-((np.maximum(distance, 0) / 3) ** 2)))[..., None]
    for t in range(FRAMES):
        rows = slice(top[t] - half + reach, top[t] + half + 1 + reach)
        columns = slice(left[t] - half + reach, left[t] + half + 1 + reach)
        window = frames[t, rows, columns]
        window *= shadow[t] * (1 - cover[t])
        window += cover[t] * body[t]


def _background(hue: float, dark: bool, rng: np.random.Generator) -> Array:
    x, y = np.meshgrid(np.arange(WIDTH, dtype=np.float32), np.arange(HEIGHT, dtype=np.float32))
    size = np.float32(rng.uniform(25, 60))
    paint = np.clip(0.5 + rng.uniform(0.4, 4) * random_pattern(rng)(x / size, y / size), 0, 1)
    paint = (0.7 * paint + 0.3 * y / HEIGHT)[..., None].astype(np.float32)
    lightness = rng.uniform(0.30, 0.42) if dark else rng.uniform(0.85, 0.92)
    first = colour(lightness, rng.uniform(0.03, 0.08), hue)
    second = colour(lightness - 0.07, rng.uniform(0.03, 0.08), hue + rng.uniform(-0.1, 0.1))
    return first + paint * (second - first)


def _actor(track: Track, hue: float, dark: bool, rng: np.random.Generator) -> Actor:
    own = hue + rng.choice([0.2, 0.35, 0.5, 0.65, 0.8]) + rng.uniform(-0.04, 0.04)
    lightness = rng.uniform(0.68, 0.78) if dark else rng.uniform(0.55, 0.68)
    other = lightness + rng.choice([-0.2, 0.17])
    return Actor(
        shape=random_shape(rng),
        pattern=random_pattern(rng),
        colours=(
            colour(lightness, rng.uniform(0.11, 0.17), own),
            colour(other, rng.uniform(0.05, 0.13), own + rng.uniform(-0.12, 0.12)),
        ),
        track=track,
    )


def _performing_track(pair: int, rng: np.random.Generator) -> Track:
    """The motion `PAIRS[pair][0]` at a speed that varies."""
    t = np.linspace(0, 1, FRAMES)
    phase = rng.uniform()
    done = t + rng.uniform(0, 0.12) * (np.sin(2 * np.pi * (t + phase)) - np.sin(2 * np.pi * phase))
    centred = done - 0.5
    radius, angle = rng.uniform(15, 21) * np.ones(FRAMES), rng.uniform(0, 2 * np.pi) * np.ones(FRAMES)
    moves = np.zeros((2, FRAMES))
    if pair < 2:
        travel = rng.uniform(36, 58)
        moves[pair], moves[1 - pair] = travel * centred, rng.uniform(-0.2, 0.2) * travel * centred
    elif pair == 2:
        angle += rng.uniform(0.6, 1.1) * np.pi * centred
    else:
        radius *= rng.uniform(1.8, 2.6) ** centred
    centre = np.array([WIDTH, HEIGHT]) / 2
    room = HEIGHT / 2 - 0.7 * radius.max() - np.abs(moves).max(axis=1)
    place = rng.uniform(centre - room, centre + room)
    return _track(place[0] + moves[0], place[1] + moves[1], radius, angle, np.ones(FRAMES))


def _idle_track(rng: np.random.Generator) -> Track:
    """Standing still, or one swing to and fro, so that nothing is gained from the first frame to the last."""
    t, one = np.linspace(0, 1, FRAMES), np.ones(FRAMES)
    swing = np.sin(2 * np.pi * (rng.integers(1, 3) * t + rng.uniform()))
    x, y = rng.uniform(8, WIDTH - 8), rng.uniform(8, HEIGHT - 8)
    radius, angle = rng.uniform(7, 12), rng.uniform(0, 2 * np.pi)
    match rng.integers(5):
        case 0:
            heading = rng.uniform(0, 2 * np.pi)
            return _track(
                x + 5 * np.cos(heading) * swing, y + 5 * np.sin(heading) * swing, radius * one, angle * one, one
            )
        case 1:
            return _track(x * one, y * one, radius * one, angle + 0.3 * swing, one)
        case 2:
            return _track(x * one, y * one, radius * (1 + 0.2 * swing), angle * one, one)
        case 3:
            return _track(x * one, y * one, radius * one, angle * one, 1 + 0.25 * swing)
    return _track(x * one, y * one, radius * one, angle * one, one)


def _track(*fields: NDArray[np.floating]) -> Track:
    x, y, radius, angle, brightness = (field.astype(np.float32) for field in fields)
    return Track(x=x, y=y, radius=radius, angle=angle, brightness=brightness)
