"""File of results in ActivityNet's format that is written while videos are localized."""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kinema import strict_json
from kinema.data.lists.inputs import location
from kinema.errors import UserError
from kinema.storage import is_url, write_text
from kinema.storage.outputs import check_writable
from kinema.tasks.localization.metrics.results import results_layout
from kinema.tasks.localization.video.localize import Localization
from kinema.urls import name_of_url

log = logging.getLogger(__name__)

_SECONDS = 10
"""Between two times that the file is written; it is written again at the end, and where the work is interrupted."""

_ORIGIN = "kinema"
"""Key beside ActivityNet's own ones: which models and options made the results, and of which files."""


class Localizations:
    """Results of videos by name; also in a file, if one is given, which a later call continues.

    Results that the file has of the same videos, by the same models and options, are kept. All others are replaced.
    """

    def __init__(self, path: Path | None, *, origin: str, classes: Sequence[str], videos: dict[str, str]) -> None:
        """Open the file.

        Args:
            path: the file, if there is one.
            origin: what differs where models or options differ.
            classes: names of the labels.
            videos: path of each video by its name.

        Raises:
            UserError: the file cannot be read, or not be written.
        """
        self._path, self._origin, self._classes = path, origin, classes
        self._locations = {
            name: name_of_url(video) if is_url(video) else location(video) for name, video in videos.items()
        }
        self._results: dict[str, Any] = {}
        check_writable(path)
        self._written = time.monotonic()
        if path is not None and path.is_file():
            self._results = self._known(path)

    def __contains__(self, name: str) -> bool:
        return name in self._results

    def __len__(self) -> int:
        return len(self._results)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()

    def add(self, name: str, found: Localization) -> None:
        """Add the results of a video.

        Raises:
            UserError: the file cannot be written.
        """
        self._results[name] = results_layout({name: found.found}, self._classes)["results"][name]
        if time.monotonic() > self._written + _SECONDS:
            self._write()

    def layout(self) -> dict[str, Any]:
        """All results in ActivityNet's layout."""
        results = {name: self._results[name] for name in self._locations if name in self._results}
        return {**results_layout({}), "results": results}

    def _write(self) -> None:
        if self._path is None:
            return
        layout = self.layout()
        made = {"origin": self._origin, "videos": {name: self._locations[name] for name in layout["results"]}}
        try:
            write_text(self._path, strict_json.dumps({**layout, _ORIGIN: made}) + "\n")
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror or error}") from error
        self._written = time.monotonic()

    def _known(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            made, results = content[_ORIGIN], content["results"]
            if made["origin"] != self._origin:
                return {}
            return {name: results[name] for name, video in made["videos"].items() if self._locations.get(name) == video}
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}  # another file, which is replaced as any output is
