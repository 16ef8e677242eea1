"""Answers to uploaded videos, within limits."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kinema.data.readers.reader import FrameReader
from kinema.data.readers.video.container import limit_pixels
from kinema.data.streams.windows import WindowSchedule
from kinema.data.views import Views, read_views
from kinema.errors import MediaError, UserError
from kinema.serve.batches import Batches
from kinema.serve.options import ServeOptions
from kinema.tasks.timeline.options import WhichViews
from kinema.tasks.timeline.scorer import ScoresClips, score_stream

MOST_WINDOWS = 2000
_FASTEST = 240
"""Frames per second: a video of `max_seconds` has so many times more frames, at most."""


class Answers:
    """Scores of uploaded videos and of windows along them.

    Args:
        predictor: the model.
        options: limits.

    Raises:
        UserError: the model does not take RGB clips.
    """

    def __init__(self, predictor: ScoresClips, options: ServeOptions) -> None:
        self.classes = tuple(predictor.classes)
        self._predictor, self._options = predictor, options
        self._views = predictor.views("test")
        self._batches = Batches(predictor.clip_scores, most=options.batch)
        self.pool = ThreadPoolExecutor(options.workers, thread_name_prefix="kinema-decode")
        limit_pixels(options.max_pixels)

    @property
    def batch_sizes(self) -> dict[int, int]:
        """Number of batches of each size so far."""
        return dict(self._batches.sizes)

    def close(self) -> None:
        """End the threads."""
        self.pool.shutdown(wait=True, cancel_futures=True)
        self._batches.close()

    def answer(self, file: Path, *, top: int, every: float, window: float, deadline: float) -> dict[str, Any]:
        """Return the predictions for a video file, and along it if `every` is not 0.

        Raises:
            MediaError: it is no video that can be read.
            UserError: it exceeds a limit.
            TimeoutError: the `deadline`, by `time.monotonic`, has passed.
        """
        check_time(deadline)
        reader = self._reader(file)
        seconds = len(reader) / reader.fps if reader.fps else None
        self._check_length(len(reader), seconds)
        views = read_views(reader, self._views)
        check_time(deadline)
        scores = self._batches.scores(views[None])[0]
        answer = {"predictions": self._best(scores, top), "frames": len(reader), "seconds": seconds, "windows": []}
        if every:
            answer["windows"] = self._along(
                file, seconds or 0.0, WindowSchedule(every=every, window=window), top, deadline
            )
        return answer

    def _along(
        self, file: Path, seconds: float, schedule: WindowSchedule, top: int, deadline: float
    ) -> list[dict[str, Any]]:
        if seconds / schedule.every > MOST_WINDOWS:
            raise UserError(
                f"a video of {seconds:.1f} s has more than {MOST_WINDOWS} windows at every={schedule.every:g}: "
                "pass a larger one"
            )
        stream = self._predictor.open_stream(file)
        windows = []
        with closing(score_stream(_Shared(self._predictor, self._batches), stream, schedule)) as answers:
            for answer in answers:
                check_time(deadline)
                best = self._best(torch.from_numpy(answer.scores), top)
                windows.append({"start": answer.start, "end": answer.end, "predictions": best})
        return windows

    def _best(self, scores: Tensor, top: int) -> list[dict[str, Any]]:
        best = scores.topk(min(top, len(self.classes)))
        return [
            {"label": self.classes[label], "score": score}
            for score, label in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]

    def _check_length(self, frames: int, seconds: float | None) -> None:
        longest = self._options.max_seconds
        if (seconds or 0) > longest or frames > longest * _FASTEST:
            raise UserError(f"the video is longer than {longest:g} s")

    def _reader(self, file: Path) -> FrameReader:
        reader = self._predictor.open(file)
        if not len(reader):
            raise MediaError("the upload", "it has no frames")
        return reader


class _Shared:
    """A predictor whose clips are computed with those of other requests."""

    def __init__(self, predictor: ScoresClips, batches: Batches) -> None:
        self.classes, self.folder, self.frames_at_once = predictor.classes, predictor.folder, predictor.frames_at_once
        self.open_stream, self.open, self._predictor = predictor.open_stream, predictor.open, predictor
        self.clip_scores = batches.scores

    def views(self, which: WhichViews) -> Views:
        """Return the model's views."""
        return self._predictor.views(which)


def check_time(deadline: float) -> None:
    """Raise TimeoutError if a deadline, by `time.monotonic`, has passed."""
    if time.monotonic() > deadline:
        raise TimeoutError
