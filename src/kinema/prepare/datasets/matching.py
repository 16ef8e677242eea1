"""Search of the videos that annotations list by name."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import digits

from kinema.console import progress
from kinema.data.kinds import MediaKind
from kinema.data.lists.class_folders import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from kinema.errors import UserError
from kinema.prepare.datasets.official import Listed, Split
from kinema.storage import suffix, walk

_SPLIT_WORDS: dict[Split, set[str]] = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validate", "validation"},
    "test": {"test", "testing"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A video file, or a folder of frames."""

    path: str
    """Path relative to the searched folder, with / as separator."""
    num_frames: int
    """Number of frames of a folder; 0 for a file."""


class Videos:
    """All videos below a folder, at any depth, except hidden files; symbolic links are followed."""

    def __init__(self, root: Path, kind: MediaKind, *, wanted: int) -> None:
        """Search `root`; `wanted` is the expected number of videos, for the progress bar.

        Raises:
            UserError: There is no such folder.
        """
        if not root.is_dir():
            raise UserError(f"no folder '{root}': pass the folder of the videos as --videos")
        self.all: list[Video] = []
        self._by_name = defaultdict[str, list[Video]](list)
        self._by_folded_name = defaultdict[str, list[Video]](list)
        self._by_source = defaultdict[str, list[Video]](list)
        with progress("Searching videos", wanted) as meter:
            for name, video in _search(root, kind):
                self.all.append(video)
                self._by_name[name].append(video)
                self._by_folded_name[name.casefold()].append(video)
                # Clips of a video are named <id>_<first second>_<last second>.
                self._by_source[re.sub(r"_\d+_\d+$", "", name)].append(video)
                if len(self.all) <= wanted:
                    meter.advance()

    def find(self, listed: Listed, split: Split, folders: set[str]) -> Video | None:
        """Return the video of a row of `split`, or None; `folders` are all class folders, normalized by `plain`.

        Of several videos with its name, one in its class folder is preferred, then one in a folder named after the
        split, then the first by path. Videos in the folder of another class do not match. If no video has its name,
        upper and lower case are ignored: UCF101's lists and copies of its videos have both HandstandPushups and
        HandStandPushups.
        """
        folded = (name.casefold() for name in listed.names)
        matches = [self._by_name[name] for name in listed.names if name in self._by_name]
        matches = matches or [self._by_folded_name[name] for name in folded if name in self._by_folded_name]
        if not matches and listed.clip_of in self._by_source:
            # The only clip of its video matches even if it was cut at other seconds than listed, or not at all.
            matches = [self._by_source[listed.clip_of]]
        own = plain(listed.folder)
        candidates = matches[0] if matches else []
        if own:
            candidates = [video for video in candidates if _parent(video) == own or _parent(video) not in folders]
        return min(candidates, key=lambda video: _preference(video, own, split), default=None)

    def unlisted(self, matches: Iterable[Video | None]) -> int:
        """Number of videos that match no row."""
        listed = {video.path for video in matches if video}
        return sum(video.path not in listed for video in self.all)


def plain(name: str) -> str:
    """Normalize the name of a folder, which tools write differently: `Air_drumming` becomes `airdrumming`."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _preference(video: Video, class_folder: str, split: Split) -> tuple[bool, bool, str]:
    words = set(re.findall(r"[a-z]+", video.path.rpartition("/")[0].casefold()))
    return _parent(video) != class_folder, not words & _SPLIT_WORDS[split], video.path


def _parent(video: Video) -> str:
    """Return the normalized name of the folder of a video, or an empty string."""
    return plain(video.path.rpartition("/")[0].rpartition("/")[2])


def _search(root: Path, kind: MediaKind) -> Iterator[tuple[str, Video]]:
    """Yield the stem and the video of all below `root`, in an order independent of the file system."""
    for folder, _, files in walk(str(root)):
        relative = "" if folder == str(root) else Path(folder).relative_to(root).as_posix()
        if kind == "video":
            for name in files:
                if suffix(name) in VIDEO_SUFFIXES:
                    yield Path(name).stem, Video(path=f"{relative}/{name}".lstrip("/"), num_frames=0)
        elif relative and (frames := _count_frames(files)):
            yield Path(folder).name, Video(path=relative, num_frames=frames)


def _count_frames(names: list[str]) -> int:
    """Return the number of RGB frames among the images of a folder, which may also hold optical flow."""
    images = [name.rpartition(".") for name in names if not name.startswith("flow_")]
    series = Counter(stem.rstrip(digits) for stem, _, suffix in images if f".{suffix.lower()}" in IMAGE_SUFFIXES)
    return max(series.values(), default=0)
