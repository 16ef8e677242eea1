"""Predictions of videos in a CSV or JSON Lines file, written as they come and resumable."""

import csv
import io
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from kinema import strict_json
from kinema.errors import UserError, did_you_mean
from kinema.prediction import NONE_OF_THESE, Prediction
from kinema.storage.appended import AppendedFile

log = logging.getLogger(__name__)

SUFFIXES = (".csv", ".jsonl")


class AnswerFile(AppendedFile):
    """A file with one line per video, written as soon as the video is predicted.

    `.jsonl`: `{"video", "predictions": [{"label", "score"}], "weights"}`. `.csv`: columns video, label_1, score_1, …,
    weights; cells of predictions that a video lacks are empty. A label that is none of the classes is null, in a `.csv`
    empty. `weights` is a digest of the model's weights, so that predictions of different models are not mixed.

    Attributes:
        answers: Predictions by video, those read from the file and those added.
    """

    def __init__(self, path: Path, *, weights: str, top: int, fewer: bool = False) -> None:
        """Create the file, or open it to append; a truncated last line is removed.

        Args:
            path: File to write, `.csv` or `.jsonl`.
            weights: Digest of the model's weights.
            top: Number of predictions per video, at most.
            fewer: Whether videos may have fewer predictions.

        Raises:
            UserError: The suffix is unknown, the file cannot be written, or it has other content: predictions of
                another model, another number of classes, or no predictions.
        """
        check_suffix(path)
        self._weights, self._top, self._fewer = weights, top, fewer
        self._is_csv = path.suffix.lower() == ".csv"
        self._columns = ["video", *(f"{part}_{i + 1}" for i in range(top) for part in ("label", "score")), "weights"]
        self.answers: dict[str, list[Prediction]] = {}
        super().__init__(path, header=as_row(self._columns) if self._is_csv else b"")

    def add(self, video: str, predictions: Sequence[Prediction]) -> None:
        """Append the predictions of a video and flush the file.

        Raises:
            UserError: The disk is full.
        """
        self.answers[video] = list(predictions)
        if self._is_csv:
            cells = [str(value) for prediction in predictions for value in astuple(prediction)]
            cells += [""] * (2 * (self._top - len(predictions)))
            self.write(as_row([video, *cells, self._weights]))
        else:
            answer = {"video": video, "predictions": [prediction.as_json() for prediction in predictions]}
            self.write(as_line({**answer, "weights": self._weights}))

    def check(self) -> None:
        """Read the predictions of the file, and remove a truncated last line."""
        content = self._path.read_bytes()
        lines = list(complete_lines(content.splitlines(keepends=True), quotes=self._is_csv))
        length = sum(map(len, lines))
        for number, line in enumerate(lines, 1):
            text = line.decode("utf-8", "surrogateescape")
            if self._is_csv and number == 1:
                self._check_columns(cells(text))
                continue
            try:
                video, predictions, weights = (_of_cells if self._is_csv else _of_json)(text)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(f"{self._path}, line {number}: not a prediction of `kinema predict`; {_HINT}") from None
            if weights != self._weights:
                raise UserError(f"{self._path}, line {number}: a prediction of another model; {_HINT}")
            if len(predictions) > self._top or (not self._fewer and len(predictions) < self._top):
                raise UserError(
                    f"{self._path}, line {number}: found {len(predictions)} classes; expected: {self._top} (--top)"
                )
            self.answers[video] = predictions
        if length < len(content):
            log.warning("%s: removed a truncated last line", self._path)
            with self._path.open("r+b") as file:
                file.truncate(length)

    def _check_columns(self, columns: list[str]) -> None:
        if columns != self._columns:
            raise UserError(
                f"{self._path}: found columns {', '.join(columns)}; expected: {', '.join(self._columns)} "
                f"(their number depends on --top); {_HINT}"
            )


def as_line(answer: Mapping[str, Any]) -> bytes:
    """Return an answer as a line of JSON."""
    try:
        return strict_json.dumps(answer, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a name that is not UTF-8, which JSON escapes represent
        return strict_json.dumps(answer).encode() + b"\n"


def as_row(values: Sequence[str]) -> bytes:
    """Return cells as a line of CSV; bytes of names that are not UTF-8 are kept."""
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue().encode("utf-8", "surrogateescape")


_HINT = "pass another file as --output"


def check_suffix(path: Path) -> None:
    """Raise UserError unless the suffix of `path` is one of `SUFFIXES`."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"--output {path}: found '{path.suffix}'; allowed: {' or '.join(SUFFIXES)}{did_you_mean(suffix, SUFFIXES)}"
        )


def complete_lines(parts: Iterable[bytes], *, quotes: bool) -> Iterator[bytes]:
    """Yield complete lines of `parts` that end at line breaks; with `quotes`, fields in quotes may contain those."""
    line = b""
    for part in parts:
        line += part
        if part.endswith(b"\n") and not (quotes and line.count(b'"') % 2):
            yield line
            line = b""


def cells(line: str) -> list[str]:
    """Return the cells of a line of CSV."""
    return next(csv.reader(io.StringIO(line, newline="")), [])


def _of_cells(line: str) -> tuple[str, list[Prediction], str]:
    video, *pairs, weights = cells(line)
    filled = [(label, score) for label, score in zip(pairs[::2], pairs[1::2], strict=True) if label or score]
    return video, [Prediction(label, float(score)) for label, score in filled], weights


def _of_json(line: str) -> tuple[str, list[Prediction], str]:
    answer: Mapping[str, Any] = json.loads(line)
    predictions = [Prediction(str(row["label"] or NONE_OF_THESE), float(row["score"])) for row in answer["predictions"]]
    return str(answer["video"]), predictions, str(answer["weights"])
