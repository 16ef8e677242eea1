"""Features of untrimmed videos for localization."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kinema.data.features.files import DAMAGE, Array, FeatureFiles, FeatureFolder
from kinema.data.features.packed import NpzFile, SafetensorsFile
from kinema.data.features.rescaling import Rescaling, rescale
from kinema.data.features.spans import FeatureSpan, described_span
from kinema.data.lists.video_names import same_video
from kinema.data.patience import Patience
from kinema.data.readers.frame_names import why
from kinema.errors import MediaError, UserError
from kinema.storage import Storage

log = logging.getLogger(__name__)


def open_features(path: str, storage: Storage) -> FeatureFiles:
    """Open a folder of files NAME.csv, NAME.npy or NAME.npz, or one .safetensors or .npz file with an array per video.

    Raises:
        UserError: it does not exist, holds no features, is malformed, or its files are of several formats.
    """
    try:
        if path.endswith(".safetensors"):
            return SafetensorsFile(path, storage)
        if path.endswith(".npz"):
            return NpzFile(path, storage)
        return FeatureFolder(path, storage)
    except OSError as error:
        raise UserError(f"features '{path}': {why(error)}") from None
    except DAMAGE as error:
        raise UserError(f"features '{path}': not a {path.rpartition('.')[2]} file, or damaged ({error})") from None


class FeatureSource:
    """Features of videos, checked and rescaled to one length.

    Videos are looked up by name, with or without ActivityNet's prefix v_. Files are listed once, at the start. A
    source may be sent to other processes.

    Attributes:
        channels: features at each point in time, summed over all paths.
    """

    def __init__(
        self,
        path: str | Sequence[str],
        *,
        storage: Storage,
        parts: int | None,
        channels: int,
        mode: Rescaling = "linear",
        min_length: int = 1,
        patience: float = 0,
    ) -> None:
        """Open feature files, see `open_features`.

        Args:
            path: a path or URL, or several, such as RGB and flow, whose channels are concatenated.
            parts: points in time to rescale each video to; None: leave them (with several paths, the fewest count).
            channels: expected features at each point in time.
            min_length: minimum number of points in time of a file.
            patience: seconds to wait for a storage that does not answer, here and in `read`.

        Raises:
            UserError: a path does not exist or holds no features.
            StorageOutage: the storage does not answer for `patience` seconds.
        """
        self._patience = Patience(patience)
        self._files: list[FeatureFiles] = [
            self._patience.through(partial(open_features, one, storage))
            for one in ([path] if isinstance(path, str) else path)
        ]
        self._parts = parts
        self._mode = mode
        self._min_length = max(min_length, 1)
        self.channels = channels

    @property
    def videos(self) -> tuple[str, ...]:
        """Names of the videos that have features at all paths, as written at the first."""
        first, *others = self._files
        return tuple(video for video in first.videos if all(same_video(video, other.videos) for other in others))

    def spans(self, durations: Mapping[str, float]) -> dict[str, FeatureSpan]:
        """Return the time spans that features cover, of the videos for which files describe them.

        With several paths, the first description counts. Descriptions that cannot be read are logged.

        Args:
            durations: in seconds, by video; nan if unknown. Needed where a description has no frame rate.

        Raises:
            StorageOutage: the storage does not answer.
        """
        spans, faults = dict[str, FeatureSpan](), list[MediaError]()
        for video, duration in durations.items():
            for files in self._files:
                if (name := same_video(video, files.videos)) is None:
                    continue
                try:
                    description = self._patience.through(partial(files.description, name))
                except MediaError as fault:
                    faults.append(fault)
                    continue
                span = None if description is None else described_span(description, duration=duration)
                if span is not None:
                    spans[video] = span
                    break
        if faults:
            log.warning(
                "%d descriptions of features cannot be read, such as %s: their times are taken from the ground truth",
                len(faults), faults[0],
            )  # fmt: skip
        return spans

    def length(self, video: str) -> int:
        """Return at how many points in time a video has features, at the first path.

        Raises:
            MediaError: there are none, or the file is malformed.
            StorageOutage: the storage does not answer.
        """
        files = self._files[0]
        if (name := same_video(video, files.videos)) is None:
            raise MediaError(files.path_of(video), "no features of this video")
        return self._patience.through(partial(files.length, name))

    def read(self, video: str, part: tuple[float, float] = (0.0, 1.0)) -> Tensor:
        """Read the features of a video, or of a part of it: (C, T) float32.

        Args:
            video: its name.
            part: start and end as fractions of the points in time; beyond the end, features are 0.

        Raises:
            MediaError: they do not exist, are too short or not finite, or do not have `channels` channels.
            StorageOutage: the storage does not answer.
        """
        arrays = [self._read(files, video, part) for files in self._files]
        if self._parts is None:
            length = min(map(len, arrays))
            rescaled = [array[:length].astype(np.float32, copy=False) for array in arrays]
        else:
            rescaled = [rescale(array, self._parts, mode=self._mode) for array in arrays]
        joined = np.concatenate(rescaled, axis=1)
        if joined.shape[1] != self.channels:
            found = " + ".join(str(array.shape[1]) for array in arrays)
            path = self._files[0].path_of(same_video(video, self._files[0].videos) or video)
            raise MediaError(path, f"{found} features at each point in time, expected {self.channels}")
        return torch.from_numpy(np.ascontiguousarray(joined.T))

    def _read(self, files: FeatureFiles, video: str, part: tuple[float, float]) -> Array:
        """Return (T, C) finite numbers."""
        name = same_video(video, files.videos)
        if name is None:
            raise MediaError(files.path_of(video), "no features of this video")
        if part == (0.0, 1.0):
            first, rows = 0, 0
            array = self._patience.through(partial(files.read, name))
        else:
            length = self._patience.through(partial(files.length, name))
            first, rows = round(part[0] * length), max(round((part[1] - part[0]) * length), 1)
            array = self._patience.through(partial(files.read_rows, name, first, first + rows))
        path = files.path_of(name)
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise MediaError(path, f"expected rows of numbers, found an array {array.shape} of {array.dtype}")
        if len(array) < self._min_length:
            raise MediaError(path, f"features at {len(array)} points in time, expected at least {self._min_length}")
        if not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            raise MediaError(path, f"point {first + row}, feature {column} (from 0) is {array[row, column]}")
        return np.pad(array, ((0, rows - len(array)), (0, 0))) if rows > len(array) else array
