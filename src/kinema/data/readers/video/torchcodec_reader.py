"""Frames of a video by torchcodec, which needs FFmpeg's libraries on the system."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torchcodec.decoders import VideoDecoder  # type: ignore[attr-defined]

from kinema.data.readers.reader import check_indices
from kinema.data.readers.video.pyav_reader import PyAVReader


class TorchCodecReader:
    """Frame-exact random access to one video file; a `FrameReader`.

    torchcodec silently returns the first frame at or after a time if the requested one is missing: in a damaged file,
    or after a seek to a recovery point of H.264. So the keyframes that it has to seek to are requested too, and the PTS
    of all returned frames are compared with the expected ones. From the first mismatch or failure on, `exact` reads the
    file instead.

    Args:
        source: A path or the file's bytes.
        exact: A reader of the same file, which must know the times of its frames.
        threads: Threads to decode with; 0: as many as FFmpeg likes.

    Raises:
        RuntimeError, ValueError: torchcodec cannot open the file.
    """

    def __init__(self, source: str | bytes, exact: PyAVReader, *, threads: int = 1) -> None:
        self._exact = exact
        self._times = torch.tensor(exact.table.times, dtype=torch.float64) * float(exact.table.time_base)
        self._reached = -1  # the last frame asked for
        # "file:" keeps a colon in the name from being taken for a protocol.
        self._decoder: VideoDecoder | None = VideoDecoder(
            source if isinstance(source, bytes) else f"file:{source}",
            dimension_order="NHWC",
            num_ffmpeg_threads=threads,
            device="cpu",
            seek_mode="exact",
        )

    def __len__(self) -> int:
        return len(self._exact)

    @property
    def path(self) -> str:
        """The name of the video in messages."""
        return self._exact.path

    @property
    def fps(self) -> float | None:
        """Frames per second on average."""
        return self._exact.fps

    def seconds(self) -> NDArray[np.float64]:
        """Presentation times in seconds, (frames,); see `frame_times`."""
        return self._exact.seconds()

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
        """Frames `indices` as `(T, H, W, 3) uint8` RGB; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        frames = self._decoded(indices)
        return self._exact.frames(indices, more=more) if frames is None else frames

    def _decoded(self, indices: Sequence[int]) -> torch.Tensor | None:
        """Frames `indices`, unless torchcodec does not give exactly these, now or earlier."""
        if self._decoder is None:
            return None
        keyframes = {keyframe for index in indices for keyframe in self._exact.table.keyframes_to(index)[-1:]}
        if min(indices) > self._reached:  # it goes on from there, and looks again at no keyframe that it has passed
            keyframes = {keyframe for keyframe in keyframes if keyframe > self._reached}
        self._reached = max(indices)
        asked = [*keyframes, *indices]
        try:
            batch = self._decoder.get_frames_at(asked)
        except (IndexError, RuntimeError):
            self._decoder = None
            return None
        if not torch.allclose(batch.pts_seconds, self._times[asked], rtol=0, atol=1e-6):
            self._decoder = None
            return None
        return batch.data[len(keyframes) :]
