"""Shapes, patterns and colors of drawn scenes, as functions of coordinates that are sharp at any scale and rotation.

A shape is a signed distance function, negative inside, of a shape within the unit circle. A pattern is a field with
values of about −1 … 1 whose sign selects one of two colors. The v axis points down.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Field = Callable[[Array, Array], Array]


def random_shape(rng: np.random.Generator) -> Field:
    """Return a random star, polygon, flower, bar, moon or hook: no rotation by less than 60° maps it to itself."""
    kind = rng.integers(6)
    if kind == 0:
        return _star(int(rng.integers(4, 6)), rng.uniform(0.45, 0.65))
    if kind == 1:
        corners = int(rng.integers(3, 6))
        return _star(corners, np.cos(np.pi / corners))
    if kind == 2:
        return _flower(int(rng.integers(3, 6)), rng.uniform(0.10, 0.22))
    if kind == 3:
        return _bar(rng.uniform(0.35, 0.6), rng.uniform(0.1, 0.35))
    if kind == 4:
        return _moon(rng.uniform(0.35, 0.55))
    return _hook(rng.uniform(0.2, 0.28))


def random_pattern(rng: np.random.Generator) -> Field:
    """Return random stripes, checks, dots, waves or blots, in a random direction."""
    kind, angle, phase = rng.integers(5), rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
    rate = rng.uniform(2.5, 5)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))

    def pattern(u: Array, v: Array) -> Array:
        along, across = rate * (cos * u + sin * v) + phase, rate * (cos * v - sin * u)
        if kind == 0:
            return np.sin(along)
        if kind == 1:
            return 1.5 * np.sin(along) * np.sin(across)
        if kind == 2:
            return np.cos(along) + np.cos(across) - 0.6
        if kind == 3:
            return np.sin(along + 1.2 * np.sin(across))
        return np.sin(0.8 * along) + np.sin(0.6 * across + along / 3) - 0.4

    return pattern


def color(lightness: float, chroma: float, hue: float) -> Array:
    """Convert OKLCH (Ottosson 2020), a perceptually uniform space, to sRGB (3,) in 0 … 255; `hue` in turns."""
    a, b = chroma * np.cos(2 * np.pi * hue), chroma * np.sin(2 * np.pi * hue)
    cones = (
        np.array(
            [
                lightness + 0.3963377774 * a + 0.2158037573 * b,
                lightness - 0.1055613458 * a - 0.0638541728 * b,
                lightness - 0.0894841775 * a - 1.2914855480 * b,
            ]
        )
        ** 3
    )
    linear = np.clip(_CONES_TO_RGB @ cones, 0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return (255 * srgb).astype(np.float32)


_CONES_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _star(points: int, inner: float) -> Field:
    """Straight edges between `points` slightly blunt tips at radius 1 and as many notches at radius `inner`."""
    half = np.pi / points
    normal = np.array([inner * np.sin(half), 1 - inner * np.cos(half)])
    normal = (normal / np.hypot(*normal)).astype(np.float32)

    def shape(u: Array, v: Array) -> Array:
        radius, angle = np.hypot(u, v), np.arctan2(v, u)
        folded = np.sqrt(((angle + half) % (2 * half) - half) ** 2 + np.float32(0.01))
        edges = (radius * np.cos(folded) - 1) * normal[0] + radius * np.sin(folded) * normal[1]
        return np.maximum(edges, radius - 1)

    return shape


def _flower(petals: int, depth: float) -> Field:
    def shape(u: Array, v: Array) -> Array:
        radius, angle = np.hypot(u, v), petals * np.arctan2(v, u)
        edge = 1 - depth + depth * np.cos(angle)
        return (radius - edge) / np.sqrt(1 + (petals * depth * np.sin(angle)) ** 2)

    return shape


def _bar(thickness: float, rounding: float) -> Field:
    def shape(u: Array, v: Array) -> Array:
        x, y = np.abs(u) - (0.92 - rounding), np.abs(v) - (thickness - rounding)
        return np.hypot(np.maximum(x, 0), np.maximum(y, 0)) + np.minimum(np.maximum(x, y), 0) - np.float32(rounding)

    return shape


def _moon(bite: float) -> Field:
    def shape(u: Array, v: Array) -> Array:
        return np.maximum(np.hypot(u, v) - 1, np.float32(0.75) - np.hypot(u - np.float32(1.15 - bite), v))

    return shape


def _hook(thickness: float) -> Field:
    """A ring with a gap."""

    def shape(u: Array, v: Array) -> Array:
        ring = np.abs(np.hypot(u, v) - np.float32(1 - thickness)) - np.float32(thickness)
        return np.maximum(ring, np.minimum(u, np.float32(0.3) - np.abs(v)))

    return shape
