"""Answers about videos, kept in a CSV or JSON Lines file as they come, where a later call goes on."""

import csv
import io
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from kinema import strict_json
from kinema.errors import UserError, did_you_mean
from kinema.report.prediction import Prediction

log = logging.getLogger(__name__)

SUFFIXES = (".csv", ".jsonl")


class AnswerFile:
    """A file with a line for each video, written as soon as the video is answered.

    `.jsonl`: `{"video", "predictions": [{"label", "score"}], "weights"}`. `.csv`: columns video, label_1, score_1, …,
    weights. `weights` is the digest of the model's weights: answers of several models are not mixed.

    Attributes:
        answers: by video, those that the file held before and those that were added.
    """

    def __init__(self, path: Path, *, weights: str, top: int) -> None:
        """Open the file, create it, or go on in it; a last line that an interruption cut is removed.

        Args:
            path: the file, `.csv` or `.jsonl`.
            weights: digest of the model's weights.
            top: predictions for a video.

        Raises:
            UserError: the suffix is another one, the file cannot be written, or it holds something else: answers of
                another model, with more or fewer classes, or no answers at all.
        """
        check_suffix(path)
        self._path, self._weights, self._top = path, weights, top
        self._is_csv = path.suffix.lower() == ".csv"
        self._columns = ["video", *(f"{part}_{i + 1}" for i in range(top) for part in ("label", "score")), "weights"]
        self.answers: dict[str, list[Prediction]] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file():
                self._read()
            self._file: IO[bytes] = path.open("ab")
            if self._is_csv and self._file.tell() == 0:
                self._write(self._columns)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror or error}") from error

    def add(self, video: str, predictions: Sequence[Prediction]) -> None:
        """Append an answer; it is in the file when this returns.

        Raises:
            UserError: the disk is full.
        """
        self.answers[video] = list(predictions)
        try:
            if self._is_csv:
                pairs = [str(value) for one in predictions for value in (one.label, one.score)]
                self._write([video, *pairs, self._weights])
            else:
                answer = {"video": video, "predictions": [asdict(one) for one in predictions]}
                self._file.write(_as_line({**answer, "weights": self._weights}))
                self._file.flush()
        except OSError as error:
            raise UserError(f"{self._path} cannot be written: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError) if error is not None else nullcontext():  # a full disk was said already
            self._file.close()

    def _write(self, cells: Sequence[str]) -> None:
        line = io.StringIO()
        csv.writer(line).writerow(cells)
        # surrogateescape: the bytes of a name that is no UTF-8, as they are.
        self._file.write(line.getvalue().encode("utf-8", "surrogateescape"))
        self._file.flush()

    def _read(self) -> None:
        content = self._path.read_bytes()
        lines = list(_whole_lines(content, quotes=self._is_csv))
        length = sum(map(len, lines))
        for number, line in enumerate(lines, 1):
            text = line.decode("utf-8", "surrogateescape")
            if self._is_csv and number == 1:
                self._check_columns(_cells(text))
                continue
            try:
                video, predictions, weights = (_of_cells if self._is_csv else _of_json)(text)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(
                    f"{self._path}, line {number}: found no answer of `kinema predict`; {_ANOTHER}"
                ) from None
            if weights != self._weights:
                raise UserError(f"{self._path}, line {number}: found an answer of another model; {_ANOTHER}")
            if len(predictions) != self._top:
                raise UserError(
                    f"{self._path}, line {number}: found {len(predictions)} classes; allowed: {self._top} (--top)"
                )
            self.answers[video] = predictions
        if length < len(content):
            log.warning("%s ended within a line, which is removed", self._path)
            with self._path.open("r+b") as file:
                file.truncate(length)

    def _check_columns(self, columns: list[str]) -> None:
        if columns != self._columns:
            raise UserError(
                f"{self._path}: found columns {', '.join(columns)}; allowed: {', '.join(self._columns)}; "
                f"--top decides how many there are; {_ANOTHER}"
            )


def _as_line(answer: Mapping[str, Any]) -> bytes:
    try:
        return strict_json.dumps(answer, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # of a name that is no UTF-8, which JSON's escapes carry
        return strict_json.dumps(answer).encode() + b"\n"


_ANOTHER = "name another file with --output"


def check_suffix(path: Path) -> None:
    """See that answers can be kept in `path`.

    Raises:
        UserError: the suffix is another one.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(
            f"--output {path}: found '{path.suffix}'; allowed: {' or '.join(SUFFIXES)}{did_you_mean(suffix, SUFFIXES)}"
        )


def _whole_lines(content: bytes, *, quotes: bool) -> Iterator[bytes]:
    """Lines with their end, up to the last whole one; with `quotes` a field in quotes may hold ends of lines."""
    line = b""
    for part in content.splitlines(keepends=True):
        line += part
        if part.endswith(b"\n") and not (quotes and line.count(b'"') % 2):
            yield line
            line = b""


def _cells(line: str) -> list[str]:
    return next(csv.reader(io.StringIO(line, newline="")), [])


def _of_cells(line: str) -> tuple[str, list[Prediction], str]:
    video, *pairs, weights = _cells(line)
    return video, [Prediction(*pair) for pair in zip(pairs[::2], map(float, pairs[1::2]), strict=True)], weights


def _of_json(line: str) -> tuple[str, list[Prediction], str]:
    answer: Mapping[str, Any] = json.loads(line)
    predictions = [Prediction(str(one["label"]), float(one["score"])) for one in answer["predictions"]]
    return str(answer["video"]), predictions, str(answer["weights"])
