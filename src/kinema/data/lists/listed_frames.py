"""How many frames a list says a video has, against the folder that it is in: before a training finds out."""

import logging
from dataclasses import replace

from kinema.data.lists.index import Index
from kinema.data.lists.presence import looked_at
from kinema.data.readers.frame_names import Numbered, image_series, numbering
from kinema.data.readers.sources import Opener
from kinema.errors import MediaError, UserError

log = logging.getLogger(__name__)


def check_counts(index: Index, opener: Opener) -> None:
    """Compare the listed number of images with that in the folders of a few videos, and log what differs.

    Folders that cannot be opened are passed over: reading them says what is wrong.

    Raises:
        UserError: all of them hold fewer than listed.
    """
    listed = {row: index.num_frames(row) for row in looked_at(index) if index.num_frames(row)}
    found = {row: count for row in listed if (count := _count(index.path(row), opener))}
    differing = [row for row in found if found[row] != listed[row]]
    if not differing:
        return
    what = "pairs of flow" if opener.source == "flow" else "frames"
    shown = [
        f"{index.source}:{index.lines[row]}: {listed[row]} {what} listed, {found[row]} found in {index.path(row)}"
        for row in differing[:3]
    ]
    message = "\n".join([*shown, f"{len(differing)} of {len(found)} folders looked at differ from the list"])
    if all(found[row] < listed[row] for row in found):
        hint = (
            "is it the list of the frames? Of flow there is one pair less"
            if opener.source == "flow"
            else f"they are counted from --data.start {opener.first}"
        )
        raise UserError(f"{message}: {hint}")
    log.warning("%s; `kinema prepare check` looks at all of them", message)


def with_usual_names(opener: Opener, index: Index) -> Opener:
    """The opener told how images are named, where a few folders of the dataset all name them alike.

    Then no folder has to be listed for each sample.
    """
    if opener.source != "rawframes" or opener.template != "auto":
        return opener
    found = {_numbering(index.path(row), opener) for row in looked_at(index)}
    return replace(opener, usual=found.pop()) if len(found) == 1 else opener


def _numbering(folder: str, opener: Opener) -> Numbered | None:
    try:
        series = image_series(folder, opener.storage)
    except MediaError:
        return None
    found = numbering(next(iter(series.values()))) if len(series) == 1 else None
    return found and replace(found, images=0)


def _count(folder: str, opener: Opener) -> int:
    try:
        return len(opener.open(folder))
    except MediaError:
        return 0
