"""The account of videos that cannot be read: logged once, counted, listed, and limited."""

import csv
import logging
import math
from collections.abc import Iterable
from pathlib import Path

import torch.distributed as dist

from kinema.data.batch import BadFile
from kinema.errors import UserError
from kinema.storage import replacing

log = logging.getLogger(__name__)


class BadFiles:
    """Bad files among the videos of a run, each known by its path.

    A run goes on while there are at most `max_fraction` of `num_videos` of them, rounded up, so that one bad file
    among a few videos is no reason to stop.
    """

    def __init__(self, *, num_videos: int, max_fraction: float, listing: Path | None = None) -> None:
        """`listing` is a CSV file `path,reason`; what stands in it already stays there, but does not count."""
        self.reasons: dict[str, str] = {}
        self._listed: dict[str, str] = {}
        self._limit = math.ceil(max_fraction * num_videos)
        self._num_videos = num_videos
        self._listing = listing
        if listing is not None and listing.exists():
            with listing.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                self._listed = {row["path"]: row["reason"] for row in csv.DictReader(file)}

    def __len__(self) -> int:
        return len(self.reasons)

    def add(self, files: Iterable[BadFile]) -> None:
        """Take note of `files`; those that are known already change nothing."""
        new = {file.path: file.reason for file in files if file.path not in self.reasons}
        if not new:
            return
        for path, reason in new.items():
            log.warning("bad file: %s: %s", path, reason)
        self.reasons |= new
        if self._listing is not None:
            self._write(self._listing)

    def check(self) -> None:
        """Hold the limit.

        Raises:
            UserError: there are more bad files than the limit allows.
        """
        if len(self) <= self._limit:
            return
        path, reason = next(iter(self.reasons.items()))
        listed = f" All are listed in {self._listing}." if self._listing else ""
        end = "" if reason.endswith("?") else "."
        hint = " Is --data.root right?" if reason.startswith("No such file") else ""
        raise UserError(
            f"{len(self)} of {self._num_videos} videos could not be read, more than --data.max-bad-fraction allows "
            f"({self._limit}). The first: {path}: {reason}{end}{listed}{hint}"
        )

    def _write(self, listing: Path) -> None:
        with (
            replacing(listing) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["path", "reason"])
            writer.writerows(sorted((self._listed | self.reasons).items()))


def gather(files: list[BadFile]) -> list[BadFile]:
    """The bad files that all processes of a distributed run have met, in every one of them; call it in all."""
    if not dist.is_initialized():
        return files
    of_each: list[list[BadFile]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(of_each, files)
    return [file for part in of_each for file in part]
