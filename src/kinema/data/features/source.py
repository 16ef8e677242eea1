"""Features of untrimmed videos, read for localization."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from kinema.data.features.files import Array, FeatureFiles, open_features
from kinema.data.features.rescaling import Rescaling, rescale
from kinema.data.features.spans import FeatureSpan, described_span
from kinema.data.lists.video_names import same_video
from kinema.data.patience import Patience
from kinema.errors import MediaError
from kinema.storage import Storage

log = logging.getLogger(__name__)


class FeatureSource:
    """The features of videos, checked and brought to one length.

    Videos go by their names, with or without ActivityNet's v_ before them, whatever the files do. Which files there
    are is asked once, here: a file that comes later is not seen. It may be sent to other processes.

    Attributes:
        channels: features at each point in time, of all places together.
    """

    def __init__(
        self,
        place: str | Sequence[str],
        *,
        storage: Storage,
        parts: int | None,
        channels: int,
        how: Rescaling = "linear",
        least: int = 1,
        patience: float = 0,
    ) -> None:
        """Open a folder or a packed file, see `open_features`.

        Args:
            place: A path or a URL. Of several, as for RGB and flow, the features stand one after the other.
            storage: What they are read from.
            parts: Points in time that each video gets; None: as many as the file has, of several places the fewest.
            channels: Features that each point must have.
            how: How they are brought to `parts`.
            least: Points that a file must have at least.
            patience: Seconds to wait for a storage that does not answer, here and in `read`.

        Raises:
            UserError: a place is not there or holds no features.
            StorageOutage: the storage does not answer for as long.
        """
        self._patience = Patience(patience)
        self._places: list[FeatureFiles] = [
            self._patience.through(partial(open_features, each, storage))
            for each in ([place] if isinstance(place, str) else place)
        ]
        self._parts = parts
        self._how = how
        self._least = max(least, 1)
        self.channels = channels

    @property
    def videos(self) -> tuple[str, ...]:
        """The names of the videos that have features, as the (first) place writes them."""
        first, *others = self._places
        return tuple(video for video in first.videos if all(same_video(video, other.videos) for other in others))

    def has(self, video: str) -> bool:
        """Whether there is a file of this video."""
        return all(same_video(video, place.videos) is not None for place in self._places)

    def spans(self, durations: Mapping[str, float]) -> dict[str, FeatureSpan]:
        """The seconds that the features of videos stand for, of those of which their files say it.

        Of several places the first one that says it counts. A description that cannot be read is warned of.

        Args:
            durations: in seconds, by video, nan where nothing is known; needed where the files say only what share of
                a video the features cover.

        Raises:
            StorageOutage: the storage does not answer.
        """
        spans, faults = dict[str, FeatureSpan](), list[MediaError]()
        for video, duration in durations.items():
            for place in self._places:
                if (name := same_video(video, place.videos)) is None:
                    continue
                try:
                    description = self._patience.through(partial(place.description, name))
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

    def read(self, video: str) -> Tensor:
        """The features of a video, (C, T) float32.

        Raises:
            MediaError: there are none, or too few, or not `channels` of them; or some are no finite numbers.
            StorageOutage: the storage does not answer.
        """
        arrays = [self._rows(place, video) for place in self._places]
        if self._parts is None:
            fewest = min(map(len, arrays))
            rows = [array[:fewest].astype(np.float32, copy=False) for array in arrays]
        else:
            rows = [rescale(array, self._parts, how=self._how) for array in arrays]
        joined = np.concatenate(rows, axis=1)
        if joined.shape[1] != self.channels:
            found = " + ".join(str(array.shape[1]) for array in arrays)
            where = self._places[0].where(same_video(video, self._places[0].videos) or video)
            raise MediaError(where, f"{found} features at each point in time, expected {self.channels}")
        return torch.from_numpy(np.ascontiguousarray(joined.T))

    def _rows(self, place: FeatureFiles, video: str) -> Array:
        """(T, C) floats, all finite."""
        name = same_video(video, place.videos)
        if name is None:
            raise MediaError(place.where(video), "no features of this video")
        array = self._patience.through(partial(place.read, name))
        where = place.where(name)
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise MediaError(where, f"expected rows of numbers, found an array {array.shape} of {array.dtype}")
        if len(array) < self._least:
            raise MediaError(where, f"features at {len(array)} points in time, expected at least {self._least}")
        if not np.isfinite(array).all():
            row, column = np.argwhere(~np.isfinite(array))[0]
            raise MediaError(where, f"point {row}, feature {column} (from 0) is {array[row, column]}")
        return array
