"""Results as lines of text, in the format of THUMOS14's challenge."""

from pathlib import Path
from typing import Any

from kinema.errors import UserError

THUMOS14_CLASSES = {
    7: "BaseballPitch",
    9: "BasketballDunk",
    12: "Billiards",
    21: "CleanAndJerk",
    22: "CliffDiving",
    23: "CricketBowling",
    24: "CricketShot",
    26: "Diving",
    31: "FrisbeeCatch",
    33: "GolfSwing",
    36: "HammerThrow",
    40: "HighJump",
    45: "JavelinThrow",
    51: "LongJump",
    68: "PoleVault",
    79: "Shotput",
    85: "SoccerPenalty",
    92: "TennisSwing",
    93: "ThrowDiscus",
    97: "VolleyballSpiking",
}
"""The classes of its detection task by their numbers among those of UCF101, which begin at 1."""

_FORMAT = "video start end class score, with a class of THUMOS14 by its name or its number from 7 to 97"


def read_text_results(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read lines `video start end class score`, times in seconds, into what ActivityNet's JSON holds under `results`.

    Raises:
        UserError: the file cannot be read, or a line is not of that format.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    results: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            video, start, end, label, score = line.split()
            name = THUMOS14_CLASSES[int(label)] if label.isdecimal() else label
            instance = {"segment": [float(start), float(end)], "label": name, "score": float(score)}
        except (ValueError, KeyError):
            raise UserError(f"{path}, line {number}: expected {_FORMAT}; found '{line.strip()}'") from None
        results.setdefault(video, []).append(instance)
    return results
