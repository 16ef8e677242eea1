"""Frames of a video by torchcodec, which needs FFmpeg's libraries on the system."""

from collections.abc import Sequence

import torch
from torchcodec.decoders import VideoDecoder  # type: ignore[attr-defined]

from kinema.data.reader import check_indices
from kinema.data.video_pyav import PyAVReader


class TorchCodecReader:
    """Frame-exact random access to one video file; see `FrameReader` for what it promises.

    torchcodec gives the first frame at or after a time, without a word when that is not the one meant: after a seek to
    a recovery point of H.264, or in a damaged file. So the times of the frames that it gives are compared with those
    that are meant. From the first that differs or cannot be decoded, `exact` reads the file instead.

    Args:
        source: A path or the file's bytes.
        exact: A reader of the same file, which must know the times of its frames.
        threads: Threads to decode with; 0: as many as FFmpeg likes.

    Raises:
        RuntimeError, ValueError: torchcodec cannot open the file.
    """

    def __init__(self, source: str | bytes, exact: PyAVReader, *, threads: int = 1) -> None:
        self._exact = exact
        self._times = torch.tensor(exact.packets.times, dtype=torch.float64) * float(exact.packets.time_base)
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

    def frames(self, indices: Sequence[int]) -> torch.Tensor:
        """Frames `indices` as `(T, H, W, 3) uint8` RGB; see `FrameReader.frames`."""
        check_indices(indices, len(self))
        if self._decoder is not None:
            try:
                batch = self._decoder.get_frames_at(list(indices))
            except (IndexError, RuntimeError):
                self._decoder = None
            else:
                if torch.allclose(batch.pts_seconds, self._times[list(indices)], rtol=0, atol=1e-6):
                    return batch.data
                self._decoder = None
        return self._exact.frames(indices)
