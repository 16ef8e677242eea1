"""Videos on a disk, found by the names that annotations list them under."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import digits

from kinema.console import progress
from kinema.data.lists.class_folders import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from kinema.data.lists.index import Kind
from kinema.errors import UserError
from kinema.prepare.datasets.official import Listed, Split

_SPLIT_WORDS: dict[Split, set[str]] = {
    "train": {"train", "training"},
    "val": {"val", "valid", "validate", "validation"},
    "test": {"test", "testing"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Video:
    """A video file, or a folder of frames.

    path: relative to the folder that was searched, with / between folders.
    num_frames: how many frames a folder has; 0 for a file.
    """

    path: str
    num_frames: int


class Videos:
    """Every video below a folder, at any depth. Hidden files are left out, symbolic links are followed."""

    def __init__(self, root: Path, kind: Kind, *, wanted: int) -> None:
        """Search `root`; `wanted` videos are expected, which only the progress bar needs to know.

        Raises:
            UserError: there is no such folder.
        """
        if not root.is_dir():
            raise UserError(f"no folder '{root}': --videos names the folder that the videos lie in, at any depth")
        self.all: list[Video] = []
        self._by_name = defaultdict[str, list[Video]](list)
        self._by_folded_name = defaultdict[str, list[Video]](list)
        self._by_source = defaultdict[str, list[Video]](list)
        with progress("looking for videos", wanted) as meter:
            for name, video in _search(root, kind):
                self.all.append(video)
                self._by_name[name].append(video)
                self._by_folded_name[name.casefold()].append(video)
                # Clips of one video are called <id>_<first second>_<last second>.
                self._by_source[re.sub(r"_\d+_\d+$", "", name)].append(video)
                if len(self.all) <= wanted:
                    meter.advance()

    def find(self, listed: Listed, split: Split, folders: set[str]) -> Video | None:
        """The video that a row lists; None where there is none.

        Of several with its name it is one in its class folder, then one in a folder called after the split, then the
        first by path. A video in the folder of another class is another video of the same name. Where no video has its
        name, one is taken whose name differs in upper and lower case alone: UCF101's own lists and copies of its videos
        write HandstandPushups and HandStandPushups.

        Args:
            listed: the row.
            split: the row's split.
            folders: every class folder, in `plain` writing.
        """
        folded = (name.casefold() for name in listed.names)
        places = [self._by_name[name] for name in listed.names if name in self._by_name]
        places = places or [self._by_folded_name[name] for name in folded if name in self._by_folded_name]
        if not places and listed.clip_of in self._by_source:
            # One clip of one video: cut at other seconds than listed, or not at all, it is still the same.
            places = [self._by_source[listed.clip_of]]
        own = plain(listed.folder)
        candidates = places[0] if places else []
        if own:
            candidates = [video for video in candidates if _parent(video) == own or _parent(video) not in folders]
        return min(candidates, key=lambda video: _preference(video, own, split), default=None)

    def unlisted(self, found: Iterable[Video | None]) -> int:
        """How many videos are there beside those that were `found` for a row."""
        listed = {video.path for video in found if video}
        return sum(video.path not in listed for video in self.all)


def plain(name: str) -> str:
    """A folder's name in the one writing that tools agree on: `Air_drumming` and `air drumming` are `airdrumming`."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _preference(video: Video, class_folder: str, split: Split) -> tuple[bool, bool, str]:
    words = set(re.findall(r"[a-z]+", video.path.rpartition("/")[0].casefold()))
    return _parent(video) != class_folder, not words & _SPLIT_WORDS[split], video.path


def _parent(video: Video) -> str:
    """The name of the folder that a video lies in, in `plain` writing; empty: in no folder."""
    return plain(video.path.rpartition("/")[0].rpartition("/")[2])


def _search(root: Path, kind: Kind) -> Iterator[tuple[str, Video]]:
    """Name without suffix, and video, of all below `root`, in an order that does not depend on the disk."""
    for folder, subfolders, files in os.walk(root, followlinks=True):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = "" if folder == str(root) else Path(folder).relative_to(root).as_posix()
        visible = [name for name in files if not name.startswith(".")]
        if kind == "video":
            for name in sorted(visible):
                stem, _, suffix = name.rpartition(".")
                if f".{suffix.lower()}" in VIDEO_SUFFIXES:
                    yield stem, Video(path=f"{relative}/{name}".lstrip("/"), num_frames=0)
        elif relative and (frames := _count_frames(visible)):
            yield Path(folder).name, Video(path=relative, num_frames=frames)


def _count_frames(names: list[str]) -> int:
    """How many colour frames there are among the images of a folder, which may hold optical flow beside them."""
    images = [name.rpartition(".") for name in names if not name.startswith("flow_")]
    series = Counter(stem.rstrip(digits) for stem, _, suffix in images if f".{suffix.lower()}" in IMAGE_SUFFIXES)
    return max(series.values(), default=0)
