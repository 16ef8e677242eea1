"""Loggers of a training: what Weights & Biases and TensorBoard have afterwards is what metrics.jsonl has."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinema.report.observers import Curves, TensorBoard, observers_of
from kinema.report.wandb_logger import WeightsAndBiases
from kinema.training.saving.record import read_rows
from tests.conftest import tiny_arguments, tiny_config
from tests.training.test_resume import ENVIRONMENT, RECIPE


def test_the_option_chooses_the_loggers(sample: Path) -> None:
    assert TensorBoard in observers_of(tiny_config(sample))
    both = observers_of(tiny_config(sample, training__loggers="wandb"))
    assert (WeightsAndBiases in both, TensorBoard in both, Curves in both) == (True, False, True)
    none = observers_of(tiny_config(sample, training__loggers=""))
    assert WeightsAndBiases not in none
    assert TensorBoard not in none


def records(file: Path) -> Iterator[bytes]:
    """The records of W&B's file: a header of 7 bytes, then LevelDB's log format (blocks of 32 KiB, with checksums)."""
    content, position, record = file.read_bytes(), 7, b""
    assert content.startswith(b":W&B")
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        record += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield record
            record = b""


def history(work_dir: Path) -> list[list[dict[str, float]]]:
    """The rows of W&B's offline files, a list for each."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for file in sorted(work_dir.glob("wandb/offline-run-*/*.wandb")):
        rows, ids = list[dict[str, float]](), set[str]()
        for data in records(file):
            record = Record()
            record.ParseFromString(data)
            if record.HasField("run"):
                ids.add(record.run.run_id)
            if record.HasField("history"):
                items = record.history.item
                rows.append({(item.key or ".".join(item.nested_key)): json.loads(item.value_json) for item in items})
        assert ids == {(work_dir / "wandb" / "id").read_text()}
        found.append([{key: value for key, value in row.items() if not key.startswith("_")} for row in rows])
    return found


@pytest.mark.slow
def test_an_offline_run_is_read_back_and_continued(sample: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    run = [sys.executable, "-m", "kinema", "train", RECIPE, "--work-dir", str(tmp_path), "--resume"]
    environment = ENVIRONMENT | {"WANDB_MODE": "offline"}
    for epochs in (1, 2):
        options = tiny_arguments(
            sample, schedule__epochs=str(epochs), training__loggers="wandb", training__log_every="4"
        )
        done = subprocess.run([*run, *options], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    first, second = history(tmp_path)
    expected = [
        {name if name in ("step", "epoch") else f"{split}/{name}": value for name, value in row.items()}
        for split in ("train", "val")
        for row in read_rows(tmp_path / "metrics.jsonl", split)  # type: ignore[arg-type]
    ]
    key = lambda row: (row["step"], len(row))  # noqa: E731
    assert sorted(first + second, key=key) == sorted(expected, key=key)
    assert max(row["step"] for row in first) == 8 < min(row["step"] for row in second)
    assert not (tmp_path / "tensorboard").exists()
