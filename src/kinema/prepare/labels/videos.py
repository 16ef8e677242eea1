"""Videos that annotations name: finding them, and what their frames and ends are in seconds."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from kinema.data.readers.segment_reader import duration
from kinema.data.readers.sources import open_video
from kinema.data.readers.timed_video import frame_times
from kinema.errors import MediaError
from kinema.prepare.labels.export import Annotation, Export
from kinema.prepare.labels.names import path_in
from kinema.storage import is_url

_UPLOADED = re.compile(r"[0-9a-f]{8}-(.+)")
"""What Label Studio makes of the name of an uploaded file."""


@dataclass(frozen=True)
class Video:
    """A video that annotations name.

    path: where it is, or its name alone if it was not found; `there` says which.
    """

    path: str
    there: bool

    @cached_property
    def times(self) -> NDArray[np.float64]:
        """When each frame is shown, and, as the last element, when the video ends: (frames + 1,) seconds.

        Raises:
            MediaError: it cannot be read, or its times are unknown.
        """
        end = duration(open_video(self.path))
        return np.append(frame_times(self.path), end)


def find_video(name: str, root: Path) -> Video:
    """Return the video that a tool calls `name`, a path, a URL or a name alone.

    It is where it says, or below `root` with as many of its folders as are there. Paths may be those of another
    machine, of Windows, or of Label Studio's uploads, whose names begin with eight hexadecimal digits. A URL remains
    one unless the file is below `root`.
    """
    remote = is_url(name) and not name.startswith("file:")
    path = path_in(urlsplit(name).path.lstrip("/") if remote else name)
    if path.is_absolute() and Path(path).is_file():
        return Video(str(path), there=True)
    parts = path.parts[1:] if path.is_absolute() else path.parts
    names = [parts[-1]] if parts else []
    if parts and (uploaded := _UPLOADED.fullmatch(parts[-1])):
        names.append(uploaded[1])
    for start in range(len(parts)):
        for last in names:
            if (found := root.joinpath(*parts[start:-1], last)).is_file():
                return Video(str(found), there=True)
    return Video(names[-1] if names and not remote else name, there=False)


def in_seconds(
    annotations: Iterable[Annotation], export: Export, videos: dict[str, Video], fps: float
) -> list[Annotation]:
    """Return annotations in seconds; faults are reported to `export`.

    Frames are converted by `fps`, if it is not 0, else by the rate that the file says, else by the time stamps of the
    video.
    """
    converted = list[Annotation]()
    for one in annotations:
        if one.unit == "seconds" or one.start is None or one.end is None:
            converted.append(one)
            continue
        rate, video = fps or one.fps, videos[one.video]
        if rate:
            start, end = one.start / rate, one.end / rate
        elif not video.there:
            export.fault(one.where, f"'{one.video}' was not found, to turn frames into seconds: pass --root, or --fps")
            continue
        else:
            try:
                times = video.times
            except MediaError as error:
                export.fault(one.where, str(error))
                continue
            if one.start >= len(times) - 1:
                count = len(times) - 1
                export.fault(one.where, f"frame {one.start:g} of a video of {count}: pass --fps, the tool's frame rate")
                continue
            start, end = float(times[int(one.start)]), float(times[min(int(one.end), len(times) - 1)])
        converted.append(replace(one, start=round(start, 6), end=round(end, 6), unit="seconds"))
    return converted
