"""Names of videos, which files and annotations do not always write alike."""

from collections.abc import Container


def same_video(name: str, known: Container[str]) -> str | None:
    """How `known` calls a video of this name: features and results often have ActivityNet's v_NAME, its JSON NAME."""
    return next((each for each in (name, f"v_{name}", name.removeprefix("v_")) if each in known), None)
