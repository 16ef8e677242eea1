"""Bad files: logged once each, counted against a limit, and listed."""

import csv
import logging
import math
from collections.abc import Iterable
from pathlib import Path

import torch.distributed as dist

from kinema.data.samples import BadFile
from kinema.errors import UserError
from kinema.storage import write_csv
from kinema.urls import name_of_url

log = logging.getLogger(__name__)


class BadFiles:
    """Bad files of a run, by path.

    At most `max_fraction` of `num_videos` are allowed, rounded up: one bad file among a few videos does not stop a run.
    """

    def __init__(self, *, num_videos: int, max_fraction: float, listing: Path | None = None) -> None:
        """`listing` is a CSV file `path,reason`; rows that it already has are kept, but do not count."""
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
        """Count and log those of `files` that are new."""
        named = {name_of_url(file.path): file.reason for file in files}
        new = {path: reason for path, reason in named.items() if path not in self.reasons}
        if not new:
            return
        for path, reason in new.items():
            log.warning("bad file: %s: %s", path, reason)
        self.reasons |= new
        if self._listing is not None:
            write_csv(self._listing, [("path", "reason"), *sorted((self._listed | self.reasons).items())])

    def check(self) -> None:
        """Check the limit.

        Raises:
            UserError: More files are bad than allowed.
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


def all_gather_bad_files(files: list[BadFile]) -> list[BadFile]:
    """Return the bad files of all processes of a distributed run in each of them; all must call this."""
    if not dist.is_initialized():
        return files
    parts: list[list[BadFile]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, files)
    return [file for part in parts for file in part]
