"""Duration, size and frame rate of videos by the headers of their files; nothing is decoded."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av

from kinema.data.readers.video.container import best_video, open_container
from kinema.errors import MediaError
from kinema.prepare.work.parallel import in_parallel

_AT_ONCE = 32  # videos of an item of work


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file's header says; None where it does not.

    row: Index in the list. fault: Why the file cannot be opened; empty if it can.
    """

    row: int
    seconds: float | None = None
    width: int = 0
    height: int = 0
    fps: float | None = None
    fault: str = ""


def read_header(row: int, path: str) -> Header:
    """Read the header of a local video file."""
    try:
        with open_container(path, path=path) as container:
            stream = best_video(container, path=path)
            seconds = None
            if stream.duration is not None and stream.time_base is not None:
                seconds = float(stream.duration * stream.time_base)
            elif container.duration is not None:
                seconds = container.duration / av.time_base
            rate = stream.average_rate
            return Header(
                row=row, seconds=seconds, width=stream.width, height=stream.height, fps=float(rate) if rate else None
            )
    except MediaError as error:
        return Header(row=row, fault=error.reason)


def read_headers(paths: Sequence[str], *, workers: int) -> Iterator[Header]:
    """Yield the headers of local video files as they are read, in any order.

    Args:
        paths: Files, by row.
        workers: Processes; 0: one per core.
    """
    items = [(start, list(paths[start : start + _AT_ONCE])) for start in range(0, len(paths), _AT_ONCE)]
    for headers in in_parallel(_read_some, items, workers=workers, on_crash=_crashed):
        yield from headers


def _read_some(item: tuple[int, list[str]]) -> list[Header]:
    start, paths = item
    return [read_header(start + i, path) for i, path in enumerate(paths)]


def _crashed(item: tuple[int, list[str]]) -> list[Header]:
    start, paths = item
    return [Header(row=start + i, fault="it, or a file near it, crashes the demuxer") for i in range(len(paths))]
