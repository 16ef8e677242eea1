"""Names of videos with and without ActivityNet's prefix."""

from collections.abc import Container


def same_video(name: str, known: Container[str]) -> str | None:
    """Return the name of a video in `known`: files are often called v_NAME, in ActivityNet's JSON NAME."""
    return next((candidate for candidate in (name, f"v_{name}", name.removeprefix("v_")) if candidate in known), None)
