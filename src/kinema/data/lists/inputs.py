"""Videos given on the command line, and unique names for their outputs."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath

from kinema.data.lists.class_folders import IMAGE_SUFFIXES, PACK_SUFFIX, VIDEO_SUFFIXES, natural_key
from kinema.data.patience import WITHOUT_OPTION, Patience
from kinema.errors import UserError, did_you_mean
from kinema.storage import is_folder, is_url, join, parent, readable, suffix, suggest_sibling, walk, without_query
from kinema.urls import name_of_url

_SUFFIXES = {*VIDEO_SUFFIXES, PACK_SUFFIX}


@dataclass(frozen=True, kw_only=True)
class Input:
    """A video file, or a folder of images."""

    path: str
    """Local path or URL."""
    name: str
    """Unique path relative to the common parent of all inputs, with `/`."""

    @property
    def shown(self) -> str:
        """Path or URL in answers, without the secrets of a URL."""
        return name_of_url(self.path)


def find_inputs(paths: Sequence[str | Path]) -> list[Input]:
    """Expand files and folders into a list of videos without duplicates.

    A file is one video. A folder is searched recursively for videos, in natural order, or if it contains none, for
    folders of images, itself included. Hidden files and folders (macOS writes `._x.mp4` beside `x.mp4`) are skipped,
    symbolic links are followed.

    Raises:
        UserError: a path does not exist, or a folder cannot be read or contains neither videos nor images.
        StorageOutage: a server does not answer.
    """
    patience = Patience(WITHOUT_OPTION, option="")
    videos = {str(path): patience.through(partial(_videos_at, str(path))) for path in paths}
    distinct = {
        name_of_url(path) if is_url(path) else location(path): path for expanded in videos.values() for path in expanded
    }
    if not distinct:
        return []
    tops = [parent(path) if expanded == [path] else path for path, expanded in videos.items()]
    root = os.path.commonpath([location(top) for top in tops])
    names = [PurePath(os.path.relpath(location(path), root)).as_posix() for path in distinct.values()]
    return [Input(path=path, name=name) for path, name in zip(distinct.values(), _unique(names), strict=True)]


def location(path: str | Path) -> str:
    """Return the absolute path without `.` and `..`, links not resolved; of a URL the readable part after `//`."""
    if is_url(str(path)):
        url = name_of_url(str(path))
        return "/" + readable(without_query(url).partition("://")[2].strip("/"), of=url)
    return os.path.normpath(Path(path).absolute())


def _unique(names: Sequence[str]) -> Iterator[str]:
    """Number duplicate names before their suffix, as of URLs that differ in their query only."""
    used = set[str]()
    for name in names:
        distinct, number = name, 1
        while distinct in used:
            number += 1
            distinct = str(PurePath(name).with_stem(f"{PurePath(name).stem}_{number}"))
        used.add(distinct)
        yield distinct


def output_paths(inputs: Sequence[Input], folder: Path, suffix: str) -> dict[Input, Path]:
    """Return an output file in `folder` for each input: `folder/a/01` with `suffix` for `a/01.mp4`.

    Inputs whose outputs would coincide, as `01.avi` and `01.mp4`, keep their own suffix: `01.avi.png`.
    """
    short = {video: _without_suffix(video.name) + suffix for video in inputs}
    counts = Counter(short.values())
    paths, used = dict[Input, Path](), {name for name, count in counts.items() if count == 1}
    for video in inputs:
        name, number = short[video], 1
        if counts[name] > 1:
            name = video.name + suffix
            while name in used:
                number += 1
                name = f"{video.name}_{number}{suffix}"
            used.add(name)
        paths[video] = folder / name
    return paths


def short_names(inputs: Sequence[Input]) -> dict[Input, str]:
    """Return a unique name for each video: its file name without folder and suffix, as in ground truth files.

    Ambiguous names keep their folder, `a/01`, or their suffix, `01.avi`.
    """
    names = {video: PurePath(_without_suffix(video.name)).name for video in inputs}
    longer = {video: _without_suffix(video.name) for video in inputs}
    while len(counts := Counter(names.values())) < len(inputs):  # again, as a longer name may be that of another
        names = {video: name if counts[name] == 1 else longer[video] for video, name in names.items()}
        longer = {video: video.name for video in inputs}
    return names


def output_files(
    inputs: Sequence[Input], target: Path | None, suffixes: Sequence[str], *, option: str
) -> dict[Input, Path]:
    """Return the output of each input: the file `target`, or a file in the folder `target`, see `output_paths`.

    A file has one of `suffixes`, files in a folder the first. `option` is the command-line option for `target`.

    Raises:
        UserError: The file has another suffix or is the output of several inputs, or an input would be overwritten.
    """
    if target is None:
        return {}
    outputs = output_paths(inputs, target, suffixes[0])
    if target.suffix and not target.is_dir():
        if (found := target.suffix.lower()) not in suffixes:
            allowed = f"{', '.join(suffixes)}, or a folder{did_you_mean(found, suffixes)}"
            raise UserError(f"{option} {target}: found '{target.suffix}'; allowed: {allowed}")
        if len(inputs) > 1:
            raise UserError(f"{option} {target} is one file, but there are {len(inputs)} videos: pass a folder")
        outputs = dict.fromkeys(inputs, target)
    locations = {os.path.realpath(video.path): video.path for video in inputs if not is_url(video.path)}
    for path in outputs.values():
        if (overwritten := locations.get(os.path.realpath(path))) is not None:
            raise UserError(f"{option}: {path} would overwrite the video {overwritten}; pass another folder or file")
    return outputs


def _videos_at(path: str) -> list[str]:
    remote = is_url(path)
    if remote and suffix(path) in _SUFFIXES:  # a server need not be asked
        return [path]
    if not path:
        raise UserError("no such video: the path is empty")
    if not remote and not Path(path).exists():
        raise _missing(path)
    videos, images = list[str](), list[str]()
    try:
        if not is_folder(path):
            return [path]
        for folder, _, names in walk(path if remote else str(Path(path))):
            suffixes = {name: suffix(name) for name in names}
            videos += [join(folder, name) for name in names if suffixes[name] in _SUFFIXES]
            if not IMAGE_SUFFIXES.isdisjoint(suffixes.values()):
                images.append(folder)
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise UserError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None
    if not videos and not images:
        raise UserError(f"folder {path} contains neither videos ({' '.join(sorted(VIDEO_SUFFIXES))}) nor images")
    return sorted(videos or images, key=natural_key)


def _missing(path: str) -> UserError:
    return UserError(f"no such video: {path}{suggest_sibling(path)}")


def _without_suffix(name: str) -> str:
    """Remove the suffix of a video file; a folder of images may be called `clip.v2`."""
    path = PurePath(name)
    return path.with_suffix("").as_posix() if path.suffix.lower() in _SUFFIXES else name
