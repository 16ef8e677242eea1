"""Spot checks of rawframes before a training: listed frame counts, and names of images."""

import logging
from dataclasses import replace

from kinema.data.lists.index import Index
from kinema.data.lists.presence import rows_to_check
from kinema.data.readers.frame_names import Numbered, image_series, numbering
from kinema.data.readers.sources import Opener
from kinema.errors import MediaError, UserError

log = logging.getLogger(__name__)


def check_counts(index: Index, opener: Opener) -> None:
    """Compare listed frame counts with the folders of a few videos, and log differences.

    Folders that cannot be opened are skipped; reading them reports the error.

    Raises:
        UserError: all of them contain fewer frames than listed.
    """
    listed = {row: index.num_frames(row) for row in rows_to_check(index) if index.num_frames(row)}
    actual = {row: count for row in listed if (count := _count(index.path(row), opener))}
    differing = [row for row in actual if actual[row] != listed[row]]
    if not differing:
        return
    what = "pairs of flow" if opener.source == "flow" else "frames"
    shown = [
        f"{index.source}:{index.lines[row]}: {listed[row]} {what} listed, {actual[row]} found in {index.path(row)}"
        for row in differing[:3]
    ]
    message = "\n".join([*shown, f"{len(differing)} of {len(actual)} folders checked differ from the list"])
    if all(actual[row] < listed[row] for row in actual):
        hint = (
            "a video has one pair of flow fewer than frames"
            if opener.source == "flow"
            else f"they are counted from --data.start {opener.first}"
        )
        raise UserError(f"{message}: {hint}")
    log.warning("%s; `kinema prepare check` checks all of them", message)


def with_usual_names(opener: Opener, index: Index) -> Opener:
    """Return the opener with the naming scheme of images, if a few folders of the dataset share one.

    Then folders are not listed for each sample.
    """
    if opener.source != "rawframes" or opener.template != "auto":
        return opener
    schemes = {_numbering(index.path(row), opener) for row in rows_to_check(index)}
    return replace(opener, usual=schemes.pop()) if len(schemes) == 1 else opener


def _numbering(folder: str, opener: Opener) -> Numbered | None:
    try:
        series = image_series(folder, opener.storage)
    except MediaError:
        return None
    scheme = numbering(next(iter(series.values()))) if len(series) == 1 else None
    return scheme and replace(scheme, images=0)


def _count(folder: str, opener: Opener) -> int:
    try:
        return len(opener.open(folder))
    except MediaError:
        return 0
