"""Scores of windows in a CSV or JSON Lines file, written as they come and resumable."""

import json
import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from kinema.data.streams.windows import WindowSchedule
from kinema.errors import UserError
from kinema.report.answers import as_line, as_row, cells, check_suffix, complete_lines
from kinema.storage.appended import AppendedFile
from kinema.tasks.timeline.options import WhichViews
from kinema.tasks.timeline.predictions import Predictions
from kinema.tasks.timeline.scorer import ScoresClips, WindowScores
from kinema.weights.model_files import scores_digest

log = logging.getLogger(__name__)

_HINT = "pass another file as --output"


def origin_of(predictor: ScoresClips, schedule: WindowSchedule, views: WhichViews, fps: float = 0.0) -> str:
    """Return a digest of the model and the windows, which differs where scores may differ."""
    settings = repr((scores_digest(predictor.folder), schedule, repr(predictor.views(views)), fps))
    return blake2b(settings.encode(), digest_size=8).hexdigest()


class TimelineFile(AppendedFile):
    """A file with one line per window, written as soon as its scores are known.

    `.jsonl`: `{"video", "start", "end", "scores": {class: score}, "origin"}`. `.csv`: columns video, start, end, one
    for each class, origin. Times in seconds. With a `min_score`, a `.jsonl` has `predictions`, too, and a `.csv` label
    and score of the best one before the classes, the label empty for none of the classes. `origin` is a digest of the
    model and the windows, so that answers of different ones are not mixed. Lines are read one at a time, so that memory
    does not grow with the file.

    Attributes:
        known: number of windows by video that the file had when it was opened.
    """

    def __init__(self, path: Path, predictions: Predictions, *, schedule: WindowSchedule, origin: str) -> None:
        """Create the file, or open it to append; a truncated last line is removed.

        Args:
            path: the file.
            predictions: makes the answers.
            schedule: the windows.
            origin: see `origin_of`.

        Raises:
            UserError: the suffix is unknown, the file cannot be written, or it has other content: answers of another
                model or of other windows, or no answers.
        """
        check_suffix(path)
        self._predictions, self._classes, self._schedule = predictions, predictions.classes, schedule
        self._origin = origin
        if least := predictions.min_score:
            self._origin += f" top {predictions.top} min-score {least:g}"
        self._best = ["label", "score"] if predictions.min_score else []
        self._is_csv = path.suffix.lower() == ".csv"
        self.known = Counter[str]()
        super().__init__(path, header=as_row(self._columns) if self._is_csv else b"")

    def add(self, video: str, answers: Sequence[WindowScores]) -> None:
        """Append answers and flush the file.

        Raises:
            UserError: the disk is full.
        """
        self.write(b"".join(self._line(video, answer) for answer in answers))

    def answers(self, video: str) -> Iterator[WindowScores]:
        """Yield the answers of a video that the file has, in order."""
        index = 0
        for _, (name, start, end, scores, _) in self._lines():
            if name == video:
                yield WindowScores(index=index, start=start, end=end, scores=np.array(scores, np.float32), latency=0.0)
                index += 1

    @property
    def _columns(self) -> list[str]:
        return ["video", "start", "end", *self._best, *self._classes, "origin"]

    def _line(self, video: str, answer: WindowScores) -> bytes:
        line = self._predictions.of(video, answer).as_json()
        if not self._is_csv:
            return as_line({**line, "origin": self._origin})
        best = best_cells(line) if self._best else []
        return as_row(
            [video, str(line["start"]), str(line["end"]), *best, *map(str, line["scores"].values()), self._origin]
        )

    def check(self) -> None:
        """Count the windows of each video, and remove a truncated last line."""
        end = 0
        for number, line in self._lines(raw=True):
            end += len(line)
            if self._is_csv and number == 1:
                if (columns := cells(_text(line))) != self._columns:
                    raise UserError(
                        f"{self._path}: found columns {', '.join(columns[:5])}, …; expected: "
                        f"{', '.join(self._columns[:5])}, …; {_HINT}"
                    )
                continue
            video, start, _, _, origin = self._parsed(number, line)
            if origin != self._origin or start != _seconds(self._schedule.start(self.known[video])):
                raise UserError(
                    f"{self._path}, line {number}: an answer of another model, or with other --every, --window, "
                    f"--views, --fps, --top or --min-score; {_HINT}"
                )
            self.known[video] += 1
        if end < self._path.stat().st_size:
            log.warning("%s: removed a truncated last line", self._path)
            with self._path.open("r+b") as file:
                file.truncate(end)

    def _lines(self, *, raw: bool = False) -> Iterator[tuple[int, Any]]:
        """Yield the number and the content of each line; `raw`: as bytes, with the line of columns."""
        with self._path.open("rb") as file:
            for number, line in enumerate(complete_lines(file, quotes=self._is_csv), 1):
                if raw:
                    yield number, line
                elif not (self._is_csv and number == 1):
                    yield number, self._parsed(number, line)

    def _parsed(self, number: int, line: bytes) -> tuple[str, float, float, list[float], str]:
        """Return video, start, end, scores and origin of a line."""
        try:
            if self._is_csv:
                video, start, end, *scores, origin = cells(_text(line))
                scores = scores[len(self._best) :]
            else:
                answer: Mapping[str, Any] = json.loads(_text(line))
                video, start, end = str(answer["video"]), answer["start"], answer["end"]
                scores, origin = [answer["scores"][name] for name in self._classes], str(answer["origin"])
            return video, float(start), float(end), [float(score) for score in scores], origin
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"{self._path}, line {number}: not an answer of `kinema predict --every`; {_HINT}"
            ) from None


def best_cells(line: Mapping[str, Any]) -> list[str]:
    """Return label and score of the best prediction of a JSON line; the label is empty for none of the classes."""
    best = line["predictions"][0]
    return [best["label"] or "", str(best["score"])]


def _seconds(seconds: float) -> float:
    return round(seconds, 3)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "surrogateescape")
