"""Motions of objects in drawn clips: those of the classes, and distracting ones without net movement."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

FRAMES, HEIGHT, WIDTH, FPS = 32, 96, 128, 16
"""T, H, W and frame rate of a drawn clip."""

Drawn = Literal["moving_right", "moving_down", "turning_clockwise", "growing"]

PAIRS: tuple[tuple[Drawn, str], ...] = (
    ("moving_right", "moving_left"),
    ("moving_down", "moving_up"),
    ("turning_clockwise", "turning_counterclockwise"),
    ("growing", "shrinking"),
)
"""Opposite motions: the first of each pair is rendered, the second is the first reversed in time."""


@dataclass(frozen=True, kw_only=True)
class Track:
    """Position of an object in each frame; all fields are (T,) float32."""

    x: NDArray[np.float32]
    """Center, in pixels from the left."""
    y: NDArray[np.float32]
    """Center, in pixels from the top."""
    radius: NDArray[np.float32]
    """Radius in pixels."""
    angle: NDArray[np.float32]
    """Angle in radians, clockwise on the screen."""
    brightness: NDArray[np.float32]
    """Factor on its colors."""


def performing(motion: Drawn, rng: np.random.Generator) -> Track:
    """Return the track of a large object that performs `motion` at varying speed, its center within the central square.

    Rotation is about a pivot beside the center, like that of a clock hand. Rotation about the center has no net motion:
    a network with global average pooling learns its direction last, and with some seeds not at all.
    """
    t, phase = np.linspace(0, 1, FRAMES), rng.uniform()
    ease = rng.uniform(0, 0.12) * (np.sin(2 * np.pi * (t + phase)) - np.sin(2 * np.pi * phase))
    progress = t + ease - 0.5  # increases from -0.5 to 0.5, as the slope of `ease` is below 1
    radius, turned = rng.uniform(15, 21), rng.uniform(0, 2 * np.pi)
    forward, sideways = rng.uniform(36, 58) * progress, rng.uniform(-10, 10) * progress
    right, down, angle, size = 0 * t, 0 * t, turned + 0 * t, radius + 0 * t
    match motion:
        case "moving_right":
            right, down = forward, sideways
        case "moving_down":
            right, down = sideways, forward
        case "turning_clockwise":
            angle = turned + rng.uniform(0.8, 1.2) * np.pi * progress
            arm = rng.uniform(12, 18)
            right, down = arm * np.cos(angle), arm * np.sin(angle)
        case "growing":
            size = radius * rng.uniform(2.4, 3.6) ** progress
    x = WIDTH / 2 + rng.uniform(-1, 1) * _room(right, size)
    y = HEIGHT / 2 + rng.uniform(-1, 1) * _room(down, size)
    return _track(x + right, y + down, size, angle, 1)


def idle(rng: np.random.Generator) -> Track:
    """Return the track of a small object that stands still, sways, rocks, pulses or flickers periodically.

    The phase is random, so that the movement looks the same forwards and backwards.
    """
    swing = np.sin(2 * np.pi * (rng.integers(1, 3) * np.linspace(0, 1, FRAMES) + rng.uniform()))
    sway, rock, pulse, flicker, _ = np.eye(5)[rng.integers(5)][:, None] * swing
    x, y, heading = rng.uniform(8, WIDTH - 8), rng.uniform(8, HEIGHT - 8), rng.uniform(0, 2 * np.pi)
    return _track(
        x + 5 * np.cos(heading) * sway,
        y + 5 * np.sin(heading) * sway,
        rng.uniform(7, 12) * (1 + 0.12 * pulse),
        rng.uniform(0, 2 * np.pi) + 0.3 * rock,
        1 + 0.25 * flicker,
    )


def _room(moves: NDArray[np.floating[Any]], size: NDArray[np.floating[Any]]) -> float:
    """Largest offset of a path from the image center that keeps most of the object in the central square."""
    return float(HEIGHT / 2 - np.abs(moves).max() - 0.7 * size.max())


def _track(*fields: ArrayLike) -> Track:
    x, y, radius, angle, brightness = (np.broadcast_to(np.asarray(field, np.float32), FRAMES) for field in fields)
    return Track(x=x, y=y, radius=radius, angle=angle, brightness=brightness)
